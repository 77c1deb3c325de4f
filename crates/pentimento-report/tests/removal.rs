//! The page of a picture that was made again by networks trained without some images.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use pentimento_report::{
    Basis, Picture, PooledMeasurementView, PooledRemovalView, PooledRowView, RemovalView, RemovedView,
    ReportError, ReportView, Statement, TopImageView, TrainingImageList, render,
};
use scraper::{Html, Selector};

fn picture(pixels: [u8; 4]) -> Picture {
    Picture { height: 2, width: 2, channels: 1, pixels: pixels.to_vec() }
}

fn removed(label: &str, picture: Option<Picture>, distance: Option<f64>) -> RemovedView {
    let image = TopImageView {
        index: 17,
        label: "cat/17.png".into(),
        picture: Some(self::picture([1, 2, 3, 4])),
        distance: 0.5,
        basis: Basis::Scored {
            method: "das".into(),
            reach: None,
            by_timestep: Vec::new(),
            near_duplicates: 0,
        },
        rank: 1,
        near_tie: false,
    };
    RemovedView {
        label: label.into(),
        picture,
        distance,
        loss_change: -0.0125,
        removed: TrainingImageList {
            title: format!("Taken away: {label}"),
            explanation: String::new(),
            statement: Statement::default(),
            images: vec![image],
            groups: Vec::new(),
        },
    }
}

fn view(removals: Vec<RemovedView>) -> ReportView {
    ReportView {
        removal: Some(RemovalView {
            id: 3,
            name: "Sample 3".into(),
            image: picture([0, 0, 0, 0]),
            headline: "Without its 50 images it changes by 2, without <b>50</b> random ones by 1.".into(),
            caution: "one draw".into(),
            statement: Statement { behaviour: "the loss".into(), ..Statement::default() },
            removals,
        }),
        ..ReportView::default()
    }
}

fn texts(page: &str, selector: &str) -> Vec<String> {
    let selector = Selector::parse(selector).expect("a selector");
    Html::parse_document(page).select(&selector).map(|element| element.text().collect()).collect()
}

#[test]
fn a_picture_stands_beside_those_made_again_and_what_was_taken_away() {
    let page = render(&view(vec![
        removed("its images", Some(picture([255, 0, 0, 0])), Some(2.0)),
        removed("random ones", Some(picture([0, 64, 0, 0])), Some(1.0)),
    ]))
    .expect("a page");
    assert_eq!(
        texts(&page, "p.finding"),
        ["Without its 50 images it changes by 2, without <b>50</b> random ones by 1."]
    );
    assert_eq!(texts(&page, "ol.strip .without"), ["its images", "random ones"]);
    assert_eq!(texts(&page, "table.plain td"), ["2.00", "\u{2212}0.013", "1.00", "\u{2212}0.013"]);
    // The picture, two made again with their maps, a training image of each.
    assert_eq!(texts(&page, "img").len(), 1 + 2 * 2 + 2);
    assert_eq!(texts(&page, "#removal details summary"), ["What was taken away to compare"]);
    let words = texts(&page, "#words dt");
    assert!(words.contains(&"trained again".into()) && words.contains(&"distance".into()), "{words:?}");
    assert!(!words.contains(&"ensemble, member".into()), "{words:?}");
}

#[test]
fn a_picture_that_was_given_has_its_loss_alone() {
    let page = render(&view(vec![removed("its images", None, None)])).expect("a page");
    assert!(texts(&page, "ol.strip").is_empty());
    assert_eq!(texts(&page, "table.plain th[scope=col]"), ["without", "change of its loss"]);
    assert_eq!(texts(&page, "#removal details").len(), 0);
}

#[test]
fn pictures_that_do_not_fit_are_named() {
    let small = Picture { height: 1, width: 1, channels: 1, pixels: vec![0] };
    let error = render(&view(vec![removed("its images", Some(small), None)])).expect_err("another shape");
    assert!(
        matches!(&error, ReportError::DifferentShape { field, .. } if field == "removal.removals[0].picture"),
        "{error}"
    );
}

#[test]
fn many_pictures_are_dots_on_one_scale() {
    let row = |label: &str, targets: [f64; 2], control: f64| PooledRowView {
        label: label.into(),
        targets: targets.to_vec(),
        controls: vec![control],
        area_under_curve: 0.75,
        log10_p: -1.0,
    };
    let measured = PooledMeasurementView {
        title: "Change of the image".into(),
        removals: vec![row("das", [0.0, 4.0], 2.0), row("random", [-4.0, 0.0], 0.0)],
        comparisons: vec!["das against <i>random</i>".into()],
    };
    let page = render(&ReportView {
        pooled_removal: Some(PooledRemovalView {
            headline: "more".into(),
            caution: "one training".into(),
            statement: Statement::default(),
            measured: vec![measured],
        }),
        ..ReportView::default()
    })
    .expect("a page");
    // From -4 to 4 on 240 less a margin of 4 at both ends.
    let parsed = Html::parse_document(&page);
    let places = |selector: &str| -> Vec<String> {
        let selector = Selector::parse(selector).expect("a selector");
        parsed.select(&selector).filter_map(|dot| dot.value().attr("cx").map(str::to_owned)).collect()
    };
    assert_eq!(places("circle.target"), ["120.0", "236.0", "4.0", "120.0"]);
    assert_eq!(places("circle:not(.target)"), ["178.0", "120.0"]);
    assert_eq!(texts(&page, "li.small"), ["das against <i>random</i>"]);
    assert_eq!(texts(&page, "table.plain tbody tr:first-child td")[1..], ["2.00", "2.00", "0.75", "0.1000"]);
}
