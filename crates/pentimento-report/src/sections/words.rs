//! The words of the page, each explained once.

use maud::{Markup, html};

use crate::ReportView;
use crate::text::name;

pub(crate) fn section(view: &ReportView) -> Markup {
    let (ensemble, scores) = (view.shows_ensemble(), view.shows_scores());
    html! {
        h2 #words-title { "Words on this page" }
        dl.words-list {
            @if ensemble { (of_ensemble(view)) }
            @if scores { (of_scores()) }
            @if view.shows_removal() { (of_removal(view)) }
            @for method in &view.methods {
                dt { (name(&method.name)) }
                dd { (name(&method.explanation)) }
            }
            @if ensemble {
                dt { "seen as" }
                dd {
                    "What a separate classifier, trained on real images, takes the picture for, and the probability it gives. It can be "
                    "wrong, most of all on blends."
                }
            }
        }
    }
}

/// What counterfactuals are.
fn of_ensemble(view: &ReportView) -> Markup {
    html! {
        dt { "ensemble, member" }
        dd {
            "Several models that make a picture together. Each member learned from another part of the training images. Which "
            "members saw an image is its code."
        }
        dt { "removing, counterfactual" }
        dd {
            "To remove an image or a class, only the members that never saw it make the picture again, from the same noise. "
            "The new picture is the counterfactual. It is exact: what was removed has no part in it."
        }
        dt { "rests most on" }
        dd {
            "The part of the training images whose removal moves the picture furthest, among those that were tried. "
            "The members that leave take with them what else they saw, so a small distance alone is weak evidence."
        }
        (distance(view))
        dt { "approximate" }
        dd { "Worked out by a cheaper method, without making the picture again in full." }
    }
}

fn distance(view: &ReportView) -> Markup {
    html! {
        dt { "distance" }
        dd {
            "How far apart two pictures are"
            @if !view.distance_meaning.is_empty() { ": " (name(&view.distance_meaning)) }
            ". 0 means that they are the same. A distance says how much changes, not whether it changes for the better."
        }
    }
}

/// What training again without some images is.
fn of_removal(view: &ReportView) -> Markup {
    html! {
        dt { "trained again" }
        dd {
            "A network is trained from the start on all training images but some. Where it would have met one of these, it meets "
            "another one that is left. Its first numbers, the order of the images and all noise stay as they were."
        }
        dt { "made again" }
        dd { "The picture by that network, from the very noise that the first picture was made from." }
        dt { "loss" }
        dd {
            "How badly the network predicts the noise that was added to the picture, at the same noise for every network. It grows "
            "where the network has learned less that helps with this picture."
        }
        @if view.pooled_removal.is_some() {
            dt { "target, control" }
            dd {
                "A target is a picture that training images were taken away for; a control is another picture, for which none was. "
                "The area under the curve is the chance that a target changes more than a control: one half if the removal does "
                "not tell them apart."
            }
        }
        @if !view.shows_ensemble() { (distance(view)) }
    }
}

/// What scores are, of any network.
fn of_scores() -> Markup {
    html! {
        dt { "gradient" }
        dd {
            "How each of the network's numbers would have to change for an image to be predicted better. Two images whose "
            "gradients point the same way teach the network the same."
        }
        dt { "score" }
        dd {
            "How much training on an image is held to have helped to make the sample, by a method. Only the order counts: "
            "scores of two methods, or of two samples, are not on one scale. It is an estimate; the sure way is to train "
            "again without the image."
        }
    }
}
