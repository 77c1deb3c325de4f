//! What the words and drawings of the page mean.

use maud::{Markup, html};

use super::methods;
use crate::EvaluationView;

pub(super) fn section(view: &EvaluationView) -> Markup {
    let targets = || view.sets.iter().flat_map(|set| &set.targets);
    let numbers = targets().any(|target| !target.scatters.is_empty());
    html! {
        h2 #reading-title { "How to read this" }
        dl.words-list {
            dt { "linear datamodelling score (LDS)" }
            dd {
                "The networks are put in order twice: by the measured loss of a query on each, and by what the scores predict for each, "
                "which is minus the sum of the scores of the images that it was trained on. The score is how far the two orders agree "
                "(Spearman\u{2019}s rank correlation), as a mean over queries. 100\u{a0}% is the same order, 0 is chance, and "
                "less than 0 is the order turned round."
            }
            dt { "query mean removed" }
            dd {
                "Some networks are worse at every picture, by the luck of their training or of their images. What is common to all queries "
                "on a network is taken from the measured losses and from the predictions before they are put in order. What is "
                "left is about the one query. A method that only tells which images are good for pictures in general scores well without "
                "this and badly with it."
            }
            dt { "ceiling" }
            dd {
                "The same images trained on with another seed give another network and another loss. What changes with the seed no scores "
                "can predict. From how well one seed tells another follows about the largest score that can be expected of the mean over "
                "the seeds. It is an estimate, and a method may come out a little above it."
            }
            dt { "interval" }
            dd {
                "With other parts of the training images the numbers would be others. The networks are drawn again, with replacement, "
                "many times from those that there are (a bootstrap over subsets), and the middle 95\u{a0}% of what comes out is the "
                "interval. The queries stay the same: nothing is said about others."
            }
            dt { "behind the best" }
            dd {
                "The best method less this one, both on the same draws of networks (a paired bootstrap). It is narrower than two intervals "
                "let expect, as what a draw does to both cancels. Where the interval holds 0, it is not established that the best is "
                "better. The best is chosen on the same networks, so its own number is a little too high."
            }
            dt { "p < 0.05" }
            dd {
                "The share of queries whose own correlation would be rarer than one in twenty if there were no relation. "
                "Without any relation it is about 5\u{a0}%, and more where there are few training images for so many networks."
            }
            @if numbers {
                dt { "predicted and measured change" }
                dd {
                    "Some methods say by how much the loss changes. Each dot is a query on a network: across, the predicted "
                    "change against the query\u{2019}s own mean; upwards, the measured one. On the dashed line both are the same. The slope is "
                    "the measured change for a predicted change of one: less than 1 means that predictions are too large. "
                    "Losses themselves are seldom predicted even where their order is."
                }
            }
            (methods(&view.methods))
        }
    }
}
