//! The page of an evaluation as an HTML parser sees it: marks stand where the numbers are, nothing leaves its place.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "../examples/demo_evaluation/demo.rs"]
mod demo;

use std::collections::BTreeSet;

use pentimento_report::{
    CeilingView, Estimate, EvaluationView, Interval, JudgedRow, JudgedSetView, QueryPairs, ScatterView,
    TargetView, render_evaluation,
};
use scraper::{ElementRef, Html, Selector};

fn all<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    let selector = Selector::parse(selector).expect("a selector");
    page.select(&selector).collect::<Vec<_>>()
}

fn attribute<'a>(element: &ElementRef<'a>, name: &str) -> &'a str {
    element.value().attr(name).unwrap_or_else(|| panic!("no {name} on {}", element.html()))
}

fn number(element: &ElementRef<'_>, name: &str) -> f64 {
    let text = attribute(element, name);
    text.trim_end_matches('%').parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}

fn text(element: &ElementRef<'_>) -> String {
    element.text().collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn page_of(view: &EvaluationView) -> Html {
    Html::parse_document(&render_evaluation(view))
}

fn estimate(low: f64, value: f64, high: f64) -> Option<Estimate> {
    Some(Estimate { value, interval: Some(Interval { low, high }) })
}

fn row(method: &str, score: Option<Estimate>) -> JudgedRow {
    JudgedRow {
        method: method.into(),
        score,
        without_query_mean: None,
        significant_share: Some(0.25),
        behind_the_best: None,
        by_query: Vec::new(),
        undefined: 0,
    }
}

fn view_of(target: TargetView) -> EvaluationView {
    let set = JudgedSetView { title: "Generated".into(), note: String::new(), targets: vec![target] };
    EvaluationView { sets: vec![set], ..EvaluationView::default() }
}

fn target(rows: Vec<JudgedRow>) -> TargetView {
    TargetView {
        name: "loss".into(),
        finding: String::new(),
        ceiling: None,
        ceiling_without_query_mean: None,
        rows,
        scatters: Vec::new(),
    }
}

/// Dots, bars, zero and ceiling lie on one straight axis: places are proportional to numbers.
#[test]
fn marks_stand_where_the_numbers_are() {
    let mut one = target(vec![
        row("first", estimate(0.2, 0.5, 0.7)),
        JudgedRow { without_query_mean: estimate(0.0, 0.1, 0.3), ..row("second", estimate(-0.2, -0.1, 0.1)) },
        row("third", None),
    ]);
    one.ceiling = Some(CeilingView { largest_score: 0.8, between_seeds: 0.5 });
    let page = page_of(&view_of(one));
    let [zero, ceiling] =
        ["line.zero", "line.ceiling"].map(|line| number(&all(&page, &format!(".ladder {line}"))[0], "x1"));
    let unit = (ceiling - zero) / 0.8;
    let dots: Vec<f64> = all(&page, ".ladder circle").iter().map(|dot| number(dot, "cx")).collect();
    let bars: Vec<[f64; 2]> =
        all(&page, ".ladder line.reach").iter().map(|bar| ["x1", "x2"].map(|end| number(bar, end))).collect();
    let expected = [0.5, -0.1, 0.1];
    let ends = [[0.2, 0.7], [-0.2, 0.1], [0.0, 0.3]];
    assert_eq!((dots.len(), bars.len()), (3, 3));
    // Places have two decimals.
    for ((dot, value), (bar, ends)) in dots.iter().zip(expected).zip(bars.iter().zip(ends)) {
        assert!((dot - zero - unit * value).abs() < 0.02, "{dot} for {value}");
        for (at, end) in bar.iter().zip(ends) {
            assert!((at - zero - unit * end).abs() < 0.02, "{at} for {end}");
        }
    }
    assert!(dots.iter().chain(bars.iter().flatten()).all(|at| (0.0..=100.0).contains(at)));
    let said = text(&all(&page, ".ladder desc")[0]);
    for part in ["first: 50.0 %, 20.0 to 70.0 %.", "third: no correlation.", "Ceiling: 80.0 %."] {
        assert!(said.contains(part), "{said}");
    }
}

/// A table has a row for each method in the order of the view; the best one is called so.
#[test]
fn the_table_has_the_numbers() {
    let mut rows = vec![
        row("first", estimate(0.2, 0.5, 0.7)),
        row("second", estimate(0.1, 0.3, 0.5)),
        row("third", None),
    ];
    rows[1].behind_the_best = estimate(-0.1, 0.2, 0.4);
    rows[2].undefined = 7;
    let page = page_of(&view_of(target(rows)));
    let rows: Vec<String> = all(&page, "table tbody tr").iter().map(text).collect();
    let rows: Vec<String> = rows.iter().map(|row| row.replace('\u{a0}', " ")).collect();
    assert_eq!(
        rows,
        [
            "first 50.0 % 20.0 to 70.0 % \u{2013} 25 % best 0",
            "second 30.0 % \u{b1} 20.0 % \u{2013} 25 % 20.0 % \u{2212}10.0 to 40.0 % 0",
            "third \u{2013} \u{2013} 25 % \u{2013} 7",
        ]
    );
}

/// The strip of a method has a line for each query, its median as a thick one and the middle half as a box.
#[test]
fn queries_have_a_line_each() {
    let mut one = row("first", estimate(0.2, 0.5, 0.7));
    one.by_query = vec![0.5, -1.0, 0.0, 1.0, 0.25];
    let page = page_of(&view_of(target(vec![one, row("none", None)])));
    let strips = all(&page, ".strips path.queries");
    assert_eq!(strips.len(), 1, "a method without correlations has no strip");
    // -1 is at 0, 1 at 1000.
    let at: Vec<f64> = attribute(&strips[0], "d")
        .split('M')
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(at, [0.0, 500.0, 625.0, 750.0, 1000.0]);
    assert!(attribute(&all(&page, ".strips path.median")[0], "d").starts_with("M625.0 "));
    let half = &all(&page, ".strips rect.half")[0];
    assert_eq!((number(half, "x"), number(half, "width")), (500.0, 250.0));
    assert!(text(&all(&page, ".strips desc")[0]).contains("1 of 5 below 0"));
}

#[test]
fn pairs_are_dots_and_what_is_left_out_is_said() {
    let pairs = |query: &str, pairs: &[[f64; 2]]| QueryPairs { query: query.into(), pairs: pairs.to_vec() };
    let mut one = target(vec![row("influence", estimate(0.2, 0.5, 0.7))]);
    one.scatters = vec![ScatterView {
        method: "influence".into(),
        slope: 0.5,
        pearson: 0.9,
        pairs: 40,
        queries: vec![pairs("3", &[[-1.0, -0.5], [1.0, 0.5]]), pairs("17", &[[0.0, 0.0], [f64::NAN, 1.0]])],
    }];
    let page = page_of(&view_of(one));
    let dots: Vec<(f64, f64)> = all(&page, ".scatter path.dots")
        .iter()
        .flat_map(|query| attribute(query, "d").split('M').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|dot| {
            let (x, y) = dot.trim_end_matches("h0").split_once(' ')?;
            Some((x.parse().ok()?, y.parse().ok()?))
        })
        .collect();
    // The middle one is in the middle of the drawing, 400 by 300; the others are as far to both sides, and larger is higher.
    assert_eq!(dots.len(), 3);
    assert_eq!(dots[2], (200.0, 150.0));
    assert!((dots[0].0 + dots[1].0 - 400.0).abs() < 0.11 && dots[0].1 > dots[1].1);
    assert_eq!(text(&all(&page, ".scatter path.dots title")[1]), "query 17");
    let said = text(&all(&page, ".scatter figcaption")[0]);
    assert!(said.contains("Shown are 3 of 40 pairs") && said.contains("0.50 of the predicted one"), "{said}");
    assert_eq!(all(&page, ".scatter path.identity").len(), 1);
}

/// Every string in a JSON value becomes what `change` makes of it.
fn change_strings(value: &mut serde_json::Value, change: &mut impl FnMut(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = change(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| change_strings(item, change)),
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(|field| change_strings(field, change))
        }
        _ => {}
    }
}

fn demo_with(mut change: impl FnMut(&str) -> String) -> EvaluationView {
    let mut json = serde_json::to_value(demo::view()).expect("to JSON");
    change_strings(&mut json, &mut change);
    serde_json::from_value(json).expect("from JSON")
}

/// Elements with their attribute names, and no content.
fn skeleton(page: &Html) -> Vec<String> {
    let of = |element: &ElementRef<'_>| {
        let attributes: BTreeSet<_> = element.value().attrs().map(|(name, _)| name).collect();
        format!("{} {attributes:?}", element.value().name())
    };
    all(page, "*").iter().map(of).collect()
}

#[test]
fn hostile_strings_change_no_element_and_no_attribute() {
    let harmless = skeleton(&page_of(&demo_with(|text| format!("x{}", text.len()))));
    for attack in [
        "<script>document.title='owned'</script>",
        "</title></style><img src=x onerror=alert(1)>",
        "</svg></desc><svg onload=alert(1)>",
        "\" onmouseover=\"alert(1)\" x=\"",
        "]]><!--",
        "</table></section>",
    ] {
        let hostile = render_evaluation(&demo_with(|text| format!("{attack}{}", text.len())));
        assert_eq!(skeleton(&Html::parse_document(&hostile)), harmless, "{attack}");
    }
    let turned = render_evaluation(&demo_with(|text| format!("{text}\u{202e}")));
    assert!(!turned.contains('\u{202e}') && turned.contains("\u{27e8}U+202E\u{27e9}"));
}

#[test]
fn the_page_can_be_used_without_eyes_and_loads_nothing() {
    let rendered = render_evaluation(&demo::view());
    let page = Html::parse_document(&rendered);
    assert!(all(&page, "script, img, link").is_empty());
    assert!(rendered.contains("script-src 'none'"));
    assert!(!rendered.contains("http://") && !rendered.contains("https://"));
    let ids: Vec<&str> = all(&page, "[id]").iter().map(|one| attribute(one, "id")).collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "an id is used twice");
    for link in all(&page, "a") {
        assert!(ids.contains(&attribute(&link, "href").trim_start_matches('#')));
    }
    for drawing in all(&page, "svg[role=img]") {
        for by in ["aria-labelledby", "aria-describedby"] {
            let said = attribute(&drawing, by);
            let spoken = all(&page, &format!("[id={said}]"));
            assert!(!text(&spoken[0]).is_empty(), "{said}");
        }
    }
    for labelled in all(&page, "section[aria-labelledby]") {
        assert!(ids.contains(&attribute(&labelled, "aria-labelledby")));
    }
    // Headings never skip a level on the way down.
    let levels: Vec<u8> = all(&page, "h1, h2, h3, h4, h5, h6")
        .iter()
        .map(|one| one.value().name().as_bytes()[1] - b'0')
        .collect();
    assert_eq!(levels.iter().filter(|&&level| level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    for header in all(&page, "th") {
        assert!(matches!(attribute(&header, "scope"), "row" | "col"));
    }
    // The three lines of the whole, and those of each method.
    let words = text(&page.root_element());
    for line in ["behaviour", "intervention", "training process"] {
        assert!(words.matches(line).count() > 6, "{line}");
    }
}

#[test]
fn numbers_that_are_none_do_no_harm() {
    let none =
        Some(Estimate { value: f64::NAN, interval: Some(Interval { low: f64::NAN, high: f64::INFINITY }) });
    let mut broken = row("broken", none);
    broken.by_query = vec![f64::NAN, f64::INFINITY];
    let mut one = target(vec![broken, row("none", None)]);
    one.ceiling = Some(CeilingView { largest_score: f64::NAN, between_seeds: f64::NAN });
    one.scatters = vec![
        ScatterView { method: "a".into(), slope: f64::NAN, pearson: f64::NAN, pairs: 0, queries: Vec::new() },
        ScatterView {
            method: "b".into(),
            slope: f64::INFINITY,
            pearson: 0.0,
            pairs: 2,
            queries: vec![QueryPairs { query: "1".into(), pairs: vec![[1.0, 1.0], [f64::NAN, 0.0]] }],
        },
    ];
    let page = page_of(&view_of(one));
    for element in all(&page, "svg *, [style]") {
        for (name, value) in element.value().attrs() {
            assert!(!value.contains("NaN") && !value.contains("inf"), "{name}={value}");
        }
    }
    // No sets at all: only what was judged and how to read it.
    assert_eq!(all(&page_of(&EvaluationView::default()), "section").len(), 2);
}

#[test]
fn the_same_view_gives_the_same_bytes_also_through_json() {
    let view = demo::view();
    let page = render_evaluation(&view);
    let back = serde_json::from_str(&serde_json::to_string(&view).expect("to JSON")).expect("from JSON");
    assert_eq!(page, render_evaluation(&back));
    eprintln!("the demo: {} bytes", page.len());
}
