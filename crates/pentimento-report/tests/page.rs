//! The page as an HTML parser sees it: nothing leaves its place, nothing is missing.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "../examples/demo_report/demo.rs"]
mod demo;

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentimento_report::{
    ApproximationView, Basis, CounterfactualView, LossCurve, LossPoint, Picture, Removed, ReportError,
    ReportView, SampleView, SeenAs, Statement, TopImageView, TrainingImageList, render,
};
use scraper::{ElementRef, Html, Selector};

fn all<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    let selector = Selector::parse(selector).expect("a selector");
    // Collected at once, so that the selector may go.
    page.select(&selector).collect::<Vec<_>>()
}

fn attribute<'a>(element: &ElementRef<'a>, name: &str) -> &'a str {
    element.value().attr(name).unwrap_or_else(|| panic!("no {name} on {}", element.html()))
}

fn page_of(view: &ReportView) -> Html {
    Html::parse_document(&render(view).expect("a page"))
}

/// Every string in a JSON value becomes what `change` makes of it, but names of enum variants stay.
fn change_strings(value: &mut serde_json::Value, change: &mut impl FnMut(&str) -> String) {
    match value {
        serde_json::Value::String(text) if !matches!(text.as_str(), "share" | "exact") => {
            *text = change(text)
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| change_strings(item, change)),
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(|field| change_strings(field, change))
        }
        _ => {}
    }
}

/// The demo with every string in it replaced.
fn demo_with(mut change: impl FnMut(&str) -> String) -> ReportView {
    let mut json = serde_json::to_value(demo::view(3, 14)).expect("to JSON");
    change_strings(&mut json, &mut change);
    serde_json::from_value(json).expect("from JSON")
}

/// The skeleton of a page: elements with their attribute names, and no content.
fn skeleton(page: &Html) -> Vec<String> {
    all(page, "*")
        .iter()
        .map(|element| {
            let attributes: BTreeSet<_> = element.value().attrs().map(|(name, _)| name).collect();
            format!("{} {attributes:?}", element.value().name())
        })
        .collect()
}

#[test]
fn hostile_strings_change_no_element_and_no_attribute() {
    let harmless = skeleton(&page_of(&demo_with(|text| format!("x{}", text.len()))));
    let attacks = [
        "<script>document.title='owned'</script>",
        "</script><script>alert(1)</script>",
        "</title></style><img src=x onerror=alert(1)>",
        "\" onmouseover=\"alert(1)\" x=\"",
        "' autofocus onfocus='alert(1)",
        "]]><!--",
        "--><svg onload=alert(1)>",
        "javascript:alert(1)",
        "&lt;b&gt;&#60;script&#62;",
        "https://example.org/pixel.png",
        "</pre></code></textarea></select></option></table>",
        "{{constructor.constructor('alert(1)')()}}",
    ];
    for attack in attacks {
        // The length keeps labels as different from each other as in the harmless page.
        let hostile = demo_with(|text| format!("{attack}{}", text.len()));
        let page = page_of(&hostile);
        assert_eq!(skeleton(&page), harmless, "{attack}");
        let title = all(&page, "h1")[0].text().collect::<String>();
        assert!(title.starts_with(attack), "the text itself is shown: {title}");
    }
}

#[test]
fn text_that_hides_or_turns_is_written_out() {
    let page = render(&demo_with(|text| format!("a\u{202e}\u{200b}\u{0}{}", text.len()))).expect("a page");
    for character in ['\u{202e}', '\u{200b}', '\u{0}'] {
        assert!(!page.contains(character), "{character:?} is in the page");
    }
    assert!(page.contains("a\u{27e8}U+202E\u{27e9}\u{27e8}U+200B\u{27e9}\u{27e8}U+0000\u{27e9}"));
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let text = render(&demo::view(4, 14)).expect("a page");
    let page = Html::parse_document(&text);
    for element in all(&page, "*") {
        for (name, value) in element.value().attrs() {
            match name {
                "src" => assert!(value.starts_with("data:image/png;base64,"), "{value}"),
                "href" => assert!(value.starts_with('#'), "{value}"),
                "srcset" | "action" | "formaction" | "poster" | "background" | "ping" => {
                    panic!("{name}={value}")
                }
                _ => assert!(!name.starts_with("on"), "{name}={value}"),
            }
        }
    }
    assert!(!text.contains("url("), "a style could load something");
    assert!(!text.contains("@import"), "a style could load something");
    assert!(!text.contains("http://") && !text.contains("https://"), "an address");
    for element in ["link", "iframe", "object", "embed", "base", "form", "audio", "video", "use"] {
        assert!(all(&page, element).is_empty(), "{element}");
    }
    let scripts = all(&page, "script");
    assert_eq!(scripts.len(), 1);
    let policy = attribute(&all(&page, "meta[http-equiv=Content-Security-Policy]")[0], "content").to_owned();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
}

#[test]
fn every_sample_and_every_picture_is_there() {
    let view = demo::view(5, 14);
    let page = page_of(&view);
    assert_eq!(all(&page, ".grid .cell").len(), 5);
    assert_eq!(all(&page, "article.sample").len(), 5);
    for sample in &view.samples {
        let article = format!("article#sample-{}", sample.id);
        assert_eq!(all(&page, &format!("{article} .strip li")).len(), 7);
        assert_eq!(all(&page, &format!("{article} .strip img.map")).len(), 7);
        // Exact and three approximations of each of the seven.
        assert_eq!(all(&page, &format!("{article} .beside img")).len(), 28);
        assert_eq!(all(&page, &format!("{article} .training-images img")).len(), 8);
    }
    assert_eq!(all(&page, ".plot path").len(), 7);
    assert_eq!(all(&page, ".counts tbody tr").len(), 8);
    assert_eq!(all(&page, ".counts .own").len(), 7);
}

#[test]
fn pictures_in_the_page_are_those_of_the_view() {
    let view = demo::view(2, 14);
    let page = page_of(&view);
    let sample = &view.samples[1];
    let base = all(&page, "article#sample-1 img.base");
    assert_eq!(decode(attribute(&base[0], "src")), sample.image.pixels);
    for (number, shown) in all(&page, "article#sample-1 .strip img.again").iter().enumerate() {
        let exact = sample.counterfactuals[number].exact.as_ref().expect("the demo has all");
        assert_eq!(decode(attribute(shown, "src")), exact.pixels, "counterfactual {number}");
    }
}

/// Grey pixels of a PNG data address.
fn decode(uri: &str) -> Vec<u8> {
    let encoded = uri.strip_prefix("data:image/png;base64,").expect("a data address");
    image::load_from_memory(&STANDARD.decode(encoded).expect("base64"))
        .expect("a PNG")
        .into_luma8()
        .into_raw()
}

#[test]
fn the_page_can_be_used_without_eyes_and_mouse() {
    let page = page_of(&demo::view(3, 14));
    for image in all(&page, "img") {
        assert!(!attribute(&image, "alt").trim().is_empty(), "{}", image.html());
    }
    for table in all(&page, "table") {
        let caption = Selector::parse("caption").expect("a selector");
        assert_eq!(table.select(&caption).count(), 1, "{}", table.html());
    }
    for header in all(&page, "th") {
        assert!(matches!(attribute(&header, "scope"), "row" | "col"));
    }
    // Headings never skip a level on the way down.
    let levels: Vec<u8> = all(&page, "h1, h2, h3, h4, h5, h6")
        .iter()
        .map(|one| one.value().name().as_bytes()[1] - b'0')
        .collect();
    assert_eq!(levels[0], 1);
    assert_eq!(levels.iter().filter(|&&level| level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");

    let ids: Vec<&str> = all(&page, "[id]").iter().map(|one| attribute(one, "id")).collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "an id is used twice");
    for link in all(&page, "a") {
        let target = attribute(&link, "href").trim_start_matches('#');
        assert!(ids.contains(&target), "#{target} leads nowhere");
    }
    for labelled in all(&page, "[aria-labelledby]") {
        assert!(ids.contains(&attribute(&labelled, "aria-labelledby")));
    }
}

#[test]
fn the_sentence_tells_what_the_numbers_say() {
    let dot = |value| Picture { height: 1, width: 1, channels: 1, pixels: vec![value] };
    let seen = |label: &str, probability| Some(SeenAs { label: label.to_owned(), probability });
    let without = |class: &str, distance, seen_as| CounterfactualView {
        removed: Removed { label: format!("class {class}"), class: Some(class.to_owned()) },
        exact: Some(dot(9)),
        distance_exact: Some(distance),
        seen_as,
        members_left: Some(4),
        approximations: Vec::new(),
    };
    let sample = |id, counterfactuals| SampleView {
        name: None,
        id,
        image: dot(3),
        seen_as: seen("8", 0.97),
        counterfactuals,
        training_image_lists: Vec::new(),
        show_detail: true,
    };
    let view = ReportView {
        samples: vec![
            sample(4, vec![without("3", 1.2, seen("8", 0.9)), without("8", 3.41, seen("3", 0.81))]),
            sample(9, vec![without("3", 2.0, seen("8", 0.62)), without("8", 1.0, seen("8", 0.5))]),
            sample(11, vec![without("3", 0.0, seen("8", 0.97))]),
        ],
        ..ReportView::default()
    };
    let page = page_of(&view);
    let told = |id: u64| {
        let told = all(&page, &format!("#sample-{id} .told p"));
        told.iter().flat_map(|one| one.text()).collect::<String>().replace('\u{a0}', " ")
    };
    assert_eq!(
        told(4),
        "This picture rests most on class 8. Made again without class 8, it is seen as 3 (81 %) instead of 8. \
         Distance 3.41; next is class 3 with 1.20. "
    );
    assert!(told(9).starts_with(
        "This picture rests most on class 3. Made again without class 3, it is still seen as 8 (62 %). Distance 2.00"
    ));
    assert_eq!(told(11), "No removal tried here changes this picture.");
    let agreement: Vec<_> = all(&page, ".cell").iter().map(|cell| cell.value().attr("data-agrees")).collect();
    assert_eq!(agreement, [Some("true"), Some("false"), None]);
}

#[test]
fn approximate_pictures_are_called_approximate() {
    let mut view = demo::view(1, 14);
    for counterfactual in &mut view.samples[0].counterfactuals {
        counterfactual.exact = None;
        counterfactual.distance_exact = None;
    }
    let page = page_of(&view);
    let cards = all(&page, ".strip li");
    assert_eq!(cards.len(), 7);
    for card in cards {
        let text = card.text().collect::<String>();
        assert!(text.contains("approximate: control variate") && !text.contains("seen as"), "{text}");
    }
    let told = all(&page, ".told")[0].text().collect::<String>();
    assert!(told.contains("These distances are approximate (control variate)"), "{told}");
}

/// A page of scores speaks of no ensemble, and calls no score a distance.
#[test]
fn scores_are_called_scores() {
    let picture = Picture { height: 1, width: 2, channels: 1, pixels: vec![0, 255] };
    let one = |distance: f64, rank: u32| TopImageView {
        index: 7,
        label: "cat".into(),
        picture: Some(picture.clone()),
        distance,
        basis: Basis::Scored {
            method: "d-trak".into(),
            reach: None,
            by_timestep: Vec::new(),
            near_duplicates: 0,
        },
        rank,
        near_tie: false,
    };
    let view = ReportView {
        samples: vec![SampleView {
            name: None,
            id: 0,
            image: picture.clone(),
            seen_as: None,
            counterfactuals: Vec::new(),
            training_image_lists: vec![TrainingImageList {
                title: "Helped most".into(),
                explanation: String::new(),
                statement: Statement::default(),
                images: vec![one(0.0842, 1), one(12.345, 2), one(-3.2e-9, 3), one(f64::NAN, 4), one(0.0, 5)],
                groups: Vec::new(),
            }],
            show_detail: true,
        }],
        ..ReportView::default()
    };
    let page = page_of(&view);
    let text = page.root_element().text().collect::<Vec<_>>().join(" ");
    let shown = [
        "score 0.084",
        "score 12.35",
        "score \u{2212}3.20\u{b7}10^\u{2212}9",
        "score not a number",
        "score 0.00",
    ];
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for score in shown {
        assert!(text.contains(score), "{score} in {text}");
    }
    for word in ["ensemble", "member", "distance", "made again"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert!(text.contains("gradient"));
}

#[test]
fn samples_without_detail_stay_in_the_overview() {
    let mut view = demo::view(300, 14);
    for sample in &mut view.samples[10..] {
        sample.show_detail = false;
    }
    let page = page_of(&view);
    assert_eq!(all(&page, ".cell").len(), 300);
    assert_eq!(all(&page, "details.more .cell").len(), 60);
    assert_eq!(all(&page, ".cell a").len(), 10);
    assert_eq!(all(&page, "article.sample").len(), 10);
    let count = all(&page, "#sample-9 .count")[0].text().collect::<String>();
    assert_eq!(count, "10 of 10");
    assert!(all(&page, "#sample-9 a[data-step='1']").is_empty(), "the last has no next");
}

#[test]
fn an_empty_view_gives_a_page() {
    let page = page_of(&ReportView::default());
    assert_eq!(all(&page, "h1").len(), 1);
    assert_eq!(all(&page, "section").len(), 1, "only the words");
}

#[test]
fn numbers_that_are_none_do_no_harm() {
    let mut view = demo::view(1, 14);
    view.headline_figures[0].estimate.value = f64::NAN;
    if let Some(interval) = &mut view.headline_figures[1].estimate.interval {
        (interval.low, interval.high) = (f64::NEG_INFINITY, f64::NAN);
    }
    view.stage_costs[0].seconds = f64::NAN;
    view.stage_costs[1].seconds = -3.0;
    view.samples[0].counterfactuals[0].distance_exact = Some(f64::INFINITY);
    view.samples[0].training_image_lists[0].images[0].distance = f64::NAN;
    view.loss_curves = vec![
        LossCurve { name: "broken".to_owned(), points: vec![LossPoint { step: u64::MAX, loss: f64::NAN }] },
        LossCurve { name: "one point".to_owned(), points: vec![LossPoint { step: 5, loss: 0.5 }] },
        LossCurve { name: "huge".to_owned(), points: vec![LossPoint { step: 6, loss: 1e300 }] },
    ];
    let page = render(&view).expect("a page");
    for element in all(&Html::parse_document(&page), "[style], path[d]") {
        let drawn = element.value().attr("style").or(element.value().attr("d")).unwrap_or_default();
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
    assert!(page.contains("not defined"));
}

#[test]
fn the_same_view_gives_the_same_bytes_also_through_json() {
    let view = demo::view(6, 14);
    let page = render(&view).expect("a page");
    assert_eq!(page, render(&view).expect("a page"));
    let json = serde_json::to_string(&view).expect("to JSON");
    let back: ReportView = serde_json::from_str(&json).expect("from JSON");
    assert_eq!(page, render(&back).expect("a page"));
}

#[test]
fn two_hundred_samples_stay_below_six_megabytes() {
    let page = render(&demo::view(200, 14)).expect("a page");
    eprintln!("200 samples: {} bytes", page.len());
    assert!(page.len() < 6_000_000, "{} bytes", page.len());
}

#[test]
fn views_that_do_not_fit_together_are_refused_by_name() {
    let refused = |change: fn(&mut ReportView)| {
        let mut view = demo::view(2, 14);
        change(&mut view);
        render(&view).expect_err("must be refused")
    };
    let error = refused(|view| {
        view.samples[1].image.pixels.pop();
    });
    assert!(matches!(error, ReportError::PixelCount { found: 195, expected: 196, .. }));
    assert!(error.to_string().starts_with("samples[1].image:"), "{error}");

    let error = refused(|view| {
        let approximation: &mut ApproximationView = &mut view.samples[0].counterfactuals[2].approximations[1];
        approximation.picture = Some(Picture { height: 7, width: 28, channels: 1, pixels: vec![0; 196] });
    });
    assert!(matches!(error, ReportError::DifferentShape { found: [7, 28, 1], expected: [14, 14, 1], .. }));
    let place = "samples[0].counterfactuals[2].approximations[1].picture:";
    assert!(error.to_string().starts_with(place), "{error}");

    for (height, width, channels) in [(0, 14, 1), (14, 4097, 1), (14, 14, 2), (u32::MAX, u32::MAX, 3)] {
        let mut view = demo::view(1, 14);
        view.samples[0].training_image_lists[0].images[3].picture =
            Some(Picture { height, width, channels, pixels: Vec::new() });
        let error = render(&view).expect_err("must be refused");
        assert!(matches!(error, ReportError::PictureSize { .. }));
        assert!(
            error.to_string().starts_with("samples[0].training_image_lists[0].images[3].picture:"),
            "{error}"
        );
    }

    let error = refused(|view| view.samples[1].id = view.samples[0].id);
    assert!(matches!(error, ReportError::DuplicateSample { id: 0, first: 0, second: 1 }));

    let error = refused(|view| {
        if let Some(table) = &mut view.group_table {
            table.rows[3].counts.pop();
        }
    });
    assert!(matches!(error, ReportError::TableRow { row: 3, found: 9, expected: 10 }));
}
