//! The page in a real browser, from a file. Needs Chromium or Chrome on the PATH; says so when there is none.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "../examples/demo_report/demo.rs"]
mod demo;
#[path = "../examples/demo_evaluation/demo.rs"]
mod demo_evaluation;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pentimento_report::{render, render_evaluation};
use pentimento_testing::skipped;
use tempfile::TempDir;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        skipped(
            "chromium",
            format!("none of {NAMES:?} is on the PATH, so the page was not opened in a browser"),
        );
    }
    found
}

/// Opens a file, waits until its scripts are done, and gives the resulting document and what was logged.
fn open(browser: &Path, file: &Path, fragment: &str, arguments: &[&str]) -> (String, String) {
    let profile = TempDir::new().expect("a folder");
    let Output { status, stdout, stderr } = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}{fragment}", file.display()))
        .output()
        .expect("the browser starts");
    let log = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "the browser failed: {log}");
    (String::from_utf8(stdout).expect("UTF-8"), log)
}

/// What pages wrote to the console.
fn console(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("CONSOLE")).collect()
}

fn write(folder: &TempDir, name: &str, page: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, page).expect("written");
    file
}

/// The page with a test's own script, which the policy of the shipped page would not let run.
fn with_probe(page: &str, probe: &str) -> String {
    let policy =
        page.split_once("script-src '").and_then(|(_, rest)| rest.split_once('\'')).expect("a policy").0;
    let open = page.replacen(&format!("'{policy}'"), "'unsafe-inline'", 1);
    open.replacen("</body>", &format!("<script>{probe}</script></body>"), 1)
}

#[test]
fn the_shipped_page_runs_under_its_own_policy() {
    let Some(browser) = browser() else { return };
    let folder = TempDir::new().expect("a folder");
    let page = render(&demo::view(12, 14)).expect("a page");

    let (document, log) = open(&browser, &write(&folder, "report.html", &page), "", &[]);
    assert!(document.contains("data-script=\"ready\""), "the script did not run");
    assert_eq!(console(&log), Vec::<&str>::new());

    // The same check must notice a page that breaks the policy.
    let broken = page.replacen("dataset.script = \"ready\"", "dataset.script = \"other\"", 1);
    let (document, log) = open(&browser, &write(&folder, "broken.html", &broken), "", &[]);
    assert!(!document.contains("data-script="), "the policy let a changed script run");
    assert!(console(&log).iter().any(|line| line.contains("Content Security Policy")), "{log}");
}

#[test]
fn hostile_labels_do_nothing_in_a_browser() {
    let Some(browser) = browser() else { return };
    let folder = TempDir::new().expect("a folder");
    let mut view = demo::view(3, 14);
    let attack = "\"><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    view.title = format!("</title><script>document.title='owned'</script>{attack}");
    view.recipe = format!("</code></pre></details>{attack}");
    for sample in &mut view.samples {
        for counterfactual in &mut sample.counterfactuals {
            counterfactual.removed.label = format!("{attack}{}", counterfactual.removed.label);
        }
    }
    let page = render(&view).expect("a page");
    // Without the policy, so that the escaping alone must hold.
    let (start, rest) = page.split_once("<meta http-equiv").expect("a policy");
    let open_page = format!("{start}{}", rest.split_once('>').expect("its end").1);
    let (document, log) = open(&browser, &write(&folder, "hostile.html", &open_page), "", &[]);
    assert!(document.contains("data-script=\"ready\""));
    assert!(!document.contains("<title>owned"), "a label ran as a script");
    assert_eq!(console(&log), Vec::<&str>::new());
}

/// Acts like a person and tells the enclosing page what was seen.
const PERSON: &str = include_str!("person.js");

/// A page that holds the report at a given width: headless browsers make no window as narrow as a phone.
fn in_frame(width: u32) -> String {
    format!(
        "<!DOCTYPE html><body style='margin:0'><script>addEventListener('message', (event) => {{ \
         document.body.append(Object.assign(document.createElement('output'), {{ textContent: event.data }})); }});\
         </script><iframe src='probe.html' style='border:0;width:{width}px;height:900px'></iframe></body>"
    )
}

fn person_at(browser: &Path, page: &str, width: u32, arguments: &[&str]) -> serde_json::Value {
    let folder = TempDir::new().expect("a folder");
    write(&folder, "probe.html", &with_probe(page, PERSON));
    let frame = write(&folder, "frame.html", &in_frame(width));
    let size = format!("--window-size={},900", width.max(500));
    let (document, log) = open(browser, &frame, "", &[&[size.as_str()], arguments].concat());
    assert_eq!(console(&log), Vec::<&str>::new());
    let answer = document.split_once("<output>").and_then(|(_, rest)| rest.split_once("</output>"));
    serde_json::from_str(answer.unwrap_or_else(|| panic!("no answer: {log}")).0).expect("JSON")
}

#[test]
fn a_person_can_step_and_filter_at_every_width() {
    let Some(browser) = browser() else { return };
    let view = demo::view(12, 14);
    let page = render(&view).expect("a page");
    let mut labels: Vec<_> =
        view.samples.iter().filter_map(|one| Some(&one.seen_as.as_ref()?.label)).collect();
    let all_labels = labels.clone();
    labels.sort();
    labels.dedup();
    let second = all_labels.iter().filter(|label| **label == labels[1]).count();

    for width in [390, 768, 1440] {
        let seen = person_at(&browser, &page, width, &[]);
        assert_eq!(seen["width"], width);
        assert_eq!(seen["overflow"], 0, "the page scrolls sideways at {width} pixels");
        assert_eq!(seen["images"], true, "an image was not drawn");
        assert_eq!(seen["first"], "sample-0");
        assert_eq!(seen["farAway"], "sample-0", "keys work only where a sample is in view");
        assert_eq!(seen["linked"], "sample-3");
        assert_eq!(seen["focus"], "sample-3");
        assert_eq!(seen["stepped"], "sample-4");
        assert_eq!(seen["inTable"], "sample-4", "keys inside a table scroll the table");
        assert_eq!(seen["elsewhere"], "sample-4", "the sample stays when the address leads elsewhere");
        assert_eq!(seen["beforeFirst"], "sample-0");
        assert_eq!(seen["filtered"], second);
        assert_eq!(seen["filterCount"], format!("{second} of 12"));
        assert_eq!(seen["steppedFiltered"], true, "stepping follows the filter");
        assert_eq!(seen["unfiltered"], 12);
    }
}

#[test]
fn very_long_names_do_not_widen_a_phone() {
    let Some(browser) = browser() else { return };
    let long = "contributor_".repeat(40);
    let mut view = demo::view(12, 14);
    view.title.push_str(&long);
    view.recipe.push_str(&long);
    view.commands.push(long.clone());
    view.made_with.machine.push_str(&long);
    view.fidelity[0].method.push_str(&long);
    view.headline_figures[0].label.push_str(&long);
    view.methods[0].name.push_str(&long);
    view.loss_curves[0].name.push_str(&long);
    view.stage_costs[0].stage.push_str(&long);
    for sample in &mut view.samples {
        sample.seen_as.as_mut().expect("seen").label.push_str(&long);
        sample.training_image_lists[0].images[0].label.push_str(&long);
        for counterfactual in &mut sample.counterfactuals {
            counterfactual.removed.label.push_str(&long);
            counterfactual.removed.class = None;
            for approximation in &mut counterfactual.approximations {
                approximation.method.push_str(&long);
            }
        }
    }
    let seen = person_at(&browser, &render(&view).expect("a page"), 390, &[]);
    assert_eq!(seen["overflow"], 0);
}

#[test]
fn light_and_dark_follow_the_reader() {
    let Some(browser) = browser() else { return };
    let page = render(&demo::view(12, 14)).expect("a page");
    let light = person_at(&browser, &page, 800, &["--blink-settings=preferredColorScheme=1"]);
    let dark = person_at(&browser, &page, 800, &["--blink-settings=preferredColorScheme=0"]);
    assert_eq!((&light["dark"], &light["paper"]), (&false.into(), &"rgb(251, 250, 247)".into()));
    assert_eq!((&dark["dark"], &dark["paper"]), (&true.into(), &"rgb(23, 22, 20)".into()));
}

#[test]
fn without_a_script_the_address_chooses_the_sample() {
    let Some(browser) = browser() else { return };
    let folder = TempDir::new().expect("a folder");
    let page = render(&demo::view(12, 14)).expect("a page");
    // Only the test's own script runs; the page's script is gone.
    let (start, rest) = page.split_once("<script>").expect("a script");
    let bare = format!("{start}{}", rest.split_once("</script>").expect("its end").1);
    let probe = "addEventListener('load', () => { document.body.dataset.shown = \
        [...document.querySelectorAll('.sample')].filter((one) => one.checkVisibility()).map((one) => one.id).join(); \
        document.body.dataset.filters = document.querySelector('.filters').checkVisibility(); });";
    let file = write(&folder, "bare.html", &with_probe(&bare, probe));
    for (fragment, shown) in [("", "sample-0"), ("#sample-7", "sample-7"), ("#cost", "sample-0")] {
        let (document, _) = open(&browser, &file, fragment, &[]);
        assert!(document.contains(&format!("data-shown=\"{shown}\"")), "{fragment} did not show {shown}");
        assert!(document.contains("data-filters=\"false\""), "filters that do nothing are shown");
    }
}

#[test]
fn screenshots_are_drawn() {
    let Some(browser) = browser() else { return };
    let folder = TempDir::new().expect("a folder");
    let page = render(&demo::view(12, 14)).expect("a page");
    write(&folder, "probe.html", &page);
    for width in [390, 1440] {
        let frame = write(&folder, "frame.html", &in_frame(width));
        let picture = folder.path().join(format!("{width}.png"));
        let (shot, size) =
            (format!("--screenshot={}", picture.display()), format!("--window-size={},900", width.max(500)));
        open(&browser, &frame, "", &[&shot, &size, "--hide-scrollbars"]);
        let drawn = image::open(&picture).expect("a screenshot").into_luma8();
        // Text and pictures on paper: many tones, most of them light.
        let mut tones = [0_u32; 256];
        drawn
            .enumerate_pixels()
            .filter(|(x, _, _)| *x < width)
            .for_each(|(_, _, tone)| tones[usize::from(tone.0[0])] += 1);
        assert!(
            tones.iter().filter(|&&count| count > 0).count() > 100,
            "the page is blank at {width} pixels"
        );
        assert!(tones[240..].iter().sum::<u32>() > tones[..240].iter().sum::<u32>());
    }
}

/// Looks at the page of an evaluation: whether it scrolls sideways, and whether any drawing or any of its letters sticks out.
const LOOK: &str = "addEventListener('load', () => {
  const seen = { width: innerWidth };
  seen.overflow = document.scrollingElement.scrollWidth - document.documentElement.clientWidth;
  const drawings = [...document.querySelectorAll('svg[role=img]')];
  seen.drawings = drawings.length;
  seen.empty = drawings.filter((one) => one.getBoundingClientRect().height < 40).length;
  seen.outside = [...document.querySelectorAll('svg[role=img] text')].filter((letters) => {
    const [box, frame] = [letters, letters.closest('svg[role=img]')].map((one) => one.getBoundingClientRect());
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
  }).map((letters) => letters.textContent);
  const rungs = document.querySelectorAll('.ladder text.method, .strips text.method');
  seen.collisions = [...rungs].filter((left) =>
    left.getBoundingClientRect().right > left.nextElementSibling.getBoundingClientRect().left).map((one) => one.textContent);
  parent.postMessage(JSON.stringify(seen), '*');
});";

#[test]
fn the_page_of_an_evaluation_fits_every_width() {
    let Some(browser) = browser() else { return };
    let page = render_evaluation(&demo_evaluation::view());
    let (start, rest) = page.split_once("script-src 'none'").expect("a policy");
    let open_page = format!("{start}script-src 'unsafe-inline'{rest}").replacen(
        "</body>",
        &format!("<script>{LOOK}</script></body>"),
        1,
    );
    for width in [390, 768, 1280] {
        let folder = TempDir::new().expect("a folder");
        write(&folder, "probe.html", &open_page);
        let frame = write(&folder, "frame.html", &in_frame(width));
        let size = format!("--window-size={},900", width.max(500));
        let (document, log) = open(&browser, &frame, "", &[&size]);
        assert_eq!(console(&log), Vec::<&str>::new());
        let answer = document.split_once("<output>").and_then(|(_, rest)| rest.split_once("</output>"));
        let seen: serde_json::Value =
            serde_json::from_str(answer.unwrap_or_else(|| panic!("no answer: {log}")).0).expect("JSON");
        assert_eq!(seen["width"], width);
        assert_eq!(seen["overflow"], 0, "the page scrolls sideways at {width} pixels");
        // Two sets with two measurements each, two drawings of each, and two scatter plots of each loss.
        assert_eq!((&seen["drawings"], &seen["empty"]), (&12.into(), &0.into()), "at {width} pixels");
        let none = serde_json::json!([]);
        assert_eq!((&seen["outside"], &seen["collisions"]), (&none, &none), "letters at {width} pixels");
    }
}
