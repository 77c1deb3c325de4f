//! What a page of scores draws: strips by timestep, groups, dampings.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "../examples/demo_report/demo.rs"]
mod demo;

use pentimento_report::{
    Basis, DampingCurve, DampingCurvePoint, GroupScore, MethodView, Picture, ReportView, SampleView,
    Statement, TimestepScore, TopImageView, TrainingImageList, render,
};
use scraper::{ElementRef, Html, Selector};

fn all<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    let selector = Selector::parse(selector).expect("a selector");
    page.select(&selector).collect::<Vec<_>>()
}

fn number(element: &ElementRef<'_>, name: &str) -> f64 {
    let text = element.value().attr(name).unwrap_or_else(|| panic!("no {name} on {}", element.html()));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}

fn text(element: &ElementRef<'_>) -> String {
    element.text().collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn picture() -> Picture {
    Picture { height: 1, width: 2, channels: 1, pixels: vec![0, 255] }
}

fn scored(label: &str, by_timestep: &[(u64, f64)]) -> TopImageView {
    let point = |&(timestep, score): &(u64, f64)| TimestepScore { timestep, score };
    TopImageView {
        index: 7,
        label: label.into(),
        picture: Some(picture()),
        distance: 1.0,
        basis: Basis::Scored {
            method: "d-trak".into(),
            reach: Some(0.25),
            by_timestep: by_timestep.iter().map(point).collect(),
            near_duplicates: 0,
        },
        rank: 1,
        near_tie: false,
    }
}

fn page_of(images: Vec<TopImageView>, groups: Vec<GroupScore>, damping_curves: Vec<DampingCurve>) -> Html {
    let statement = Statement {
        behaviour: "the loss".into(),
        intervention: "one image".into(),
        training_process: "one step <of it>".into(),
    };
    let (title, explanation) = ("Helped most".into(), String::new());
    let list = TrainingImageList { title, explanation, statement, images, groups };
    let sample = SampleView {
        name: None,
        id: 0,
        image: picture(),
        seen_as: None,
        counterfactuals: Vec::new(),
        training_image_lists: vec![list],
        show_detail: true,
    };
    let view = ReportView { samples: vec![sample], damping_curves, ..ReportView::default() };
    Html::parse_document(&render(&view).expect("a page"))
}

/// Bars stand on the line of zero, as long as their scores, one for each timestep from left to right.
#[test]
fn a_strip_has_a_bar_for_each_timestep() {
    let scores = [(10, 3.0), (200, -1.0), (500, 0.0), (900, 1.5)];
    let page = page_of(vec![scored("cat", &scores)], Vec::new(), Vec::new());
    let strips = all(&page, "svg.by-timestep");
    assert_eq!(strips.len(), 1);
    let said = strips[0].value().attr("aria-label").expect("a text for those who do not see it");
    assert!(said.contains("from -1.0e0 to 3.0e0") && said.contains("largest at timestep 10"), "{said}");
    let bars = all(&page, "svg.by-timestep rect");
    assert_eq!(bars.len(), scores.len());
    let zero = number(&all(&page, "svg.by-timestep line")[0], "y1");
    let unit = number(&bars[0], "height") / 3.0;
    for (bar, (timestep, score)) in bars.iter().zip(scores) {
        let (top, height) = (number(bar, "y"), number(bar, "height"));
        // Coordinates have two decimals; a score of zero is a thin line.
        let end = if score < 0.0 { top } else { top + height };
        assert!(score == 0.0 || (end - zero).abs() < 0.03, "timestep {timestep}: from {top}, {height} high");
        assert!(
            score == 0.0 || (height - unit * f64::abs(score)).abs() < 0.03,
            "timestep {timestep}: {height}"
        );
    }
    let places: Vec<f64> = bars.iter().map(|bar| number(bar, "x")).collect();
    assert!(places.is_sorted() && places[0] == 0.0, "{places:?}");
    assert!(page.html().contains("at which noise level an image mattered"), "no legend");

    // Nothing to draw: no strip, and no legend of one.
    let page = page_of(vec![scored("cat", &[])], Vec::new(), Vec::new());
    assert!(all(&page, "svg.by-timestep").is_empty());
    assert!(!page.html().contains("at which noise level an image mattered"));
    let page = page_of(vec![scored("cat", &[(1, 0.0), (2, f64::NAN)])], Vec::new(), Vec::new());
    assert!(all(&page, "svg.by-timestep").is_empty(), "no score is other than zero");
}

#[test]
fn groups_are_bars_on_one_scale() {
    let group = |label: &str, images, score, reach| GroupScore { label: label.into(), images, score, reach };
    let groups =
        vec![group("ann", 1, 4.0, Some(0.5)), group("bob", 12, 1.0, None), group("cy", 3, -2.0, None)];
    let page = page_of(vec![scored("cat", &[])], groups, Vec::new());
    let rows = all(&page, "details.groups tbody tr");
    let told: Vec<String> = rows.iter().map(text).collect();
    assert!(told[0].starts_with("ann 1 image 4.00 \u{b1} 0.50"), "{told:?}");
    assert!(told[1].starts_with("bob 12 images 1.00") && !told[1].contains('\u{b1}'), "{told:?}");
    let shares: Vec<&str> =
        all(&page, "details.groups .length").iter().filter_map(|bar| bar.value().attr("style")).collect();
    assert_eq!(shares, ["--share:100.0", "--share:25.0", "--share:50.0"]);
    let less: Vec<bool> = all(&page, "details.groups .length")
        .iter()
        .map(|bar| bar.value().classes().any(|class| class == "less"))
        .collect();
    assert_eq!(less, [false, false, true]);

    let nothing = vec![group("ann", 1, 0.0, None)];
    assert!(all(&page_of(vec![scored("cat", &[])], nothing, Vec::new()), "details.groups").is_empty());
}

/// The line of agreement falls where agreement falls, and the damping that was taken stands at its place on it.
#[test]
fn a_damping_curve_shows_every_point_and_the_one_that_was_taken() {
    let points =
        [(1e-2, 90.0, Some(0.5)), (1e-1, 40.0, Some(1.0)), (1e0, 10.0, Some(0.75)), (1e1, 2.0, None)];
    let point = |(damping, degrees_of_freedom, agreement)| DampingCurvePoint {
        damping,
        degrees_of_freedom,
        agreement,
    };
    let curve = DampingCurve {
        method: "d-trak".into(),
        taken: 1e-1,
        chosen: "By a rule.".into(),
        rules: vec![("Another rule would say".into(), 0.3)],
        points: points.map(point).to_vec(),
        warning: Some("Near a cliff.".into()),
    };
    let page = page_of(vec![scored("cat", &[])], Vec::new(), vec![curve]);
    let line = all(&page, "figure.damping polyline");
    let corners: Vec<(f64, f64)> = line[0]
        .value()
        .attr("points")
        .expect("points")
        .split(' ')
        .map(|corner| {
            let (x, y) = corner.split_once(',').expect("two coordinates");
            (x.parse().expect("a number"), y.parse().expect("a number"))
        })
        .collect();
    // The damping without an agreement is not drawn; the others are evenly spread on a logarithmic scale.
    assert_eq!(corners.len(), 3);
    assert!((corners[1].0 - corners[2].0 / 2.0).abs() < 0.2 && corners[0].0 == 0.0, "{corners:?}");
    // Down the page: agreement 1 at the top, 0.5 twice as far from it as 0.75.
    assert_eq!(corners[1].1, 0.0);
    assert!((corners[0].1 - 2.0 * corners[2].1).abs() < 0.2 && corners[2].1 > 1.0, "{corners:?}");
    assert!((number(&all(&page, "figure.damping line.taken")[0], "x1") - corners[1].0).abs() < 0.1);

    let rows: Vec<String> = all(&page, ".plain tbody tr").iter().map(text).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0], "1.00e-2 90.0 0.500");
    assert_eq!(rows[3], "1.00e1 2.0 \u{2013}");
    assert_eq!(all(&page, ".plain caption").len(), 1);
    let text = page.root_element().text().collect::<String>();
    for words in ["By a rule.", "Another rule would say: 3.00e-1.", "Near a cliff."] {
        assert!(text.contains(words), "{words}");
    }
}

/// What is not known of an image leaves no empty place.
#[test]
fn images_without_a_label_have_none() {
    let page = page_of(vec![scored("", &[]), scored("cat", &[])], Vec::new(), Vec::new());
    let labels: Vec<String> = all(&page, ".training-images .label").iter().map(text).collect();
    assert_eq!(labels, ["cat"]);
    let alts: Vec<&str> =
        all(&page, ".training-images img").iter().filter_map(|image| image.value().attr("alt")).collect();
    assert_eq!(alts, ["Training image 7: rank 1 for sample 0", "Training image 7, cat: rank 1 for sample 0"]);
}

/// A page of an ensemble says the same with scores below its counterfactuals as without them, and explains both.
#[test]
fn counterfactuals_and_scores_stand_on_one_page() {
    let words = |page: &Html| all(page, ".words-list dt").iter().map(text).collect::<Vec<_>>();
    let mut view = demo::view(3, 14);
    let alone = Html::parse_document(&render(&view).expect("a page"));
    let images = vec![scored("cat", &[(10, 1.0), (900, 2.0)])];
    let helped = TrainingImageList {
        title: "Helped most".into(),
        explanation: String::new(),
        statement: Statement::default(),
        images,
        groups: Vec::new(),
    };
    for sample in &mut view.samples {
        sample.training_image_lists.push(helped.clone());
    }
    view.methods.push(MethodView { name: "d-trak".into(), explanation: "Kernels of gradients.".into() });
    let both = Html::parse_document(&render(&view).expect("a page"));
    for part in [".strip li", "img.again", "img.map", "table.bars tr", ".figure", "table.counts td", ".mark"]
    {
        assert!(!all(&alone, part).is_empty(), "{part}");
        assert_eq!(all(&alone, part).len(), all(&both, part).len(), "{part}");
    }
    let shown = view.samples.iter().filter(|sample| sample.show_detail).count();
    assert_eq!(all(&both, "svg.by-timestep").len(), shown);
    // The list comes last, below the counterfactuals.
    let article = all(&both, "article.sample")[0].html();
    let place = |text: &str| article.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(place("Made again without") < place("Helped most"));

    let (ensemble, all_words) = (words(&alone), words(&both));
    assert!(ensemble.contains(&"ensemble, member".into()) && !ensemble.contains(&"score".into()));
    for word in ensemble.iter().map(String::as_str).chain(["gradient", "score", "d-trak"]) {
        assert_eq!(all_words.iter().filter(|one| *one == word).count(), 1, "{word}");
    }
    let said = both.root_element().text().collect::<String>();
    for words in ["made by all members of the ensemble together", "Each picture is made again", "estimates"] {
        assert!(said.contains(words), "{words}");
    }
    // Scores alone are of one network.
    let page = page_of(vec![scored("cat", &[])], Vec::new(), Vec::new());
    assert!(!words(&page).contains(&"ensemble, member".into()));
    assert!(page.html().contains("made by the network"));
}

/// What scores are about stands in one line over them, and only there.
#[test]
fn a_list_says_what_it_is_about() {
    let page = page_of(vec![scored("cat", &[])], Vec::new(), Vec::new());
    let about: Vec<String> = all(&page, ".about").iter().map(text).collect();
    assert_eq!(
        about,
        ["behaviour : the loss ; intervention : one image ; training process : one step <of it>"]
    );
}
