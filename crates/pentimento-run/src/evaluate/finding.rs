//! What an evaluation found, in sentences: which method predicts best, whether that is established, and what it is worth.

use super::subsets::Judged;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use pentimento_evaluation::datamodelling::Ceiling;
use pentimento_evaluation::statistics::Estimate;

/// What is to be said of methods that were judged by one measurement, the best first.
pub(super) fn finding(target: &str, ranked: &[&Judged], ceiling: Option<&Ceiling>) -> String {
    let scored: Vec<(&Judged, Estimate)> =
        ranked.iter().filter_map(|judged| Some((*judged, judged.datamodelling.score.mean?))).collect();
    let Some(((best, score), others)) = scored.split_first() else {
        return "No method has a score: predictions or outcomes are the same on all networks.".into();
    };
    let mut sentences = vec![opening(target, &best.method, *score)];
    let others: Vec<&Judged> = others.iter().map(|(judged, _)| *judged).collect();
    sentences.extend(lead(&best.method, &others));
    sentences.extend(likeness(&best.method, &others));
    sentences.extend(without_query_mean(&best.method, ranked));
    if let Some(most) = ceiling.and_then(|ceiling| ceiling.outcomes.largest_score) {
        sentences.push(format!("The most that can be expected of any scores is {}.", percent(most)));
    }
    sentences.join(" ")
}

fn opening(target: &str, best: &str, score: Estimate) -> String {
    let said = said(score);
    if score.high < 0.0 {
        format!("All scores point the wrong way: even those of {best}, the best, reach {said}.")
    } else if score.low <= 0.0 {
        format!(
            "That any method predicts the {target} is not established: {best} comes first with {said}, and chance alone gives 0."
        )
    } else {
        format!("{best} predicts the {target} best, with {said}.")
    }
}

/// How far the best is ahead of the next, and of which others it is not told apart.
fn lead(best: &str, others: &[&Judged]) -> Option<String> {
    let next = others.first()?;
    let behind = next.behind_the_best.as_ref()?.difference;
    let points =
        format!("{} points, {} to {}", number(behind.value), number(behind.low), number(behind.high));
    if behind.low > 0.0 {
        return Some(format!("That it is better than the next, {}, is established ({points}).", next.method));
    }
    let alike: Vec<&str> =
        others[1..].iter().filter(|other| !is_behind(other)).map(|other| other.method.as_str()).collect();
    let more = match alike.as_slice() {
        [] => String::new(),
        names => format!(" Nor is it told apart from {}.", names.join(", ")),
    };
    Some(format!(
        "That {best} is better than the next, {}, is not established ({points}).{more}",
        next.method
    ))
}

/// Whether it is established that another one is better.
fn is_behind(judged: &Judged) -> bool {
    judged.behind_the_best.as_ref().is_some_and(|behind| behind.difference.low > 0.0)
}

/// Where a likeness that asks no network does as well as anything, it is said.
fn likeness(best: &str, others: &[&Judged]) -> Option<String> {
    match likeness_of(best) {
        Some(Likeness::Random) => {
            return Some("Those are random numbers, so nothing is predicted here.".into());
        }
        Some(_) => {
            return Some(format!(
                "{best} is a likeness and asks nothing of the network that made the pictures: no method that does is ahead of it."
            ));
        }
        None => {}
    }
    let alike = others.iter().find(|other| {
        !is_behind(other) && likeness_of(&other.method).is_some_and(|likeness| likeness != Likeness::Random)
    })?;
    Some(format!(
        "It is not established that a likeness which asks nothing of the network, {}, is any worse.",
        alike.method
    ))
}

fn likeness_of(method: &str) -> Option<Likeness> {
    match Method::named(method)?.family {
        Family::Likeness(likeness) => Some(likeness),
        _ => None,
    }
}

/// Which is best of what is about the one query, if that is another one.
fn without_query_mean(best: &str, ranked: &[&Judged]) -> Option<String> {
    let centred = |judged: &Judged| judged.datamodelling.without_query_mean.as_ref()?.mean;
    let (first, score) = ranked
        .iter()
        .filter_map(|judged| Some((judged, centred(judged)?)))
        .reduce(|best, other| if other.1.value > best.1.value { other } else { best })?;
    Some(match first.method == best {
        true => format!("It also comes first with the query mean removed, with {}.", said(score)),
        false => format!("With the query mean removed, {} comes first with {}.", first.method, said(score)),
    })
}

/// A score with its interval.
fn said(score: Estimate) -> String {
    format!("{} (95 % interval {} to {})", percent(score.value), number(score.low), number(score.high))
}

fn percent(share: f64) -> String {
    format!("{} %", number(share))
}

/// A share in percent with a true minus sign, and none before zero.
fn number(share: f64) -> String {
    let text = format!("{:.1}", 100.0 * share.abs());
    if share < 0.0 && text != "0.0" { format!("\u{2212}{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_evaluation::datamodelling::Datamodelling;
    use pentimento_evaluation::statistics::linear_datamodelling::{
        LinearDatamodellingScore, ScoreDifference,
    };

    fn score(mean: Option<[f64; 3]>) -> LinearDatamodellingScore {
        LinearDatamodellingScore {
            mean: mean.map(|[low, value, high]| Estimate { value, low, high }),
            defined: 4,
            undefined: 0,
            significant_share: None,
            queries: Vec::new(),
        }
    }

    fn judged(method: &str, mean: Option<[f64; 3]>, behind: Option<[f64; 3]>) -> Judged {
        let difference = |[low, value, high]: [f64; 3]| ScoreDifference {
            first: value,
            second: 0.0,
            difference: Estimate { value, low, high },
            defined: 4,
            undefined: 0,
        };
        Judged {
            method: method.into(),
            target: "loss",
            datamodelling: Datamodelling { score: score(mean), without_query_mean: None },
            predicted: None,
            behind_the_best: behind.map(difference),
        }
    }

    fn said_of(judged: &[Judged]) -> String {
        finding("loss", &judged.iter().collect::<Vec<_>>(), None)
    }

    #[test]
    fn an_established_lead_is_called_so() {
        let said = said_of(&[
            judged("influence", Some([0.3, 0.4, 0.5]), None),
            judged("das", Some([0.2, 0.3, 0.4]), Some([0.02, 0.1, 0.2])),
            judged("pixel-cosine", Some([0.0, 0.1, 0.2]), Some([0.1, 0.3, 0.4])),
        ]);
        assert_eq!(
            said,
            "influence predicts the loss best, with 40.0 % (95 % interval 30.0 to 50.0). That it is better than the next, das, is \
             established (10.0 points, 2.0 to 20.0)."
        );
    }

    #[test]
    fn what_is_not_told_apart_is_named_and_so_is_a_likeness_among_it() {
        let said = said_of(&[
            judged("influence", Some([0.3, 0.4, 0.5]), None),
            judged("das", Some([0.2, 0.3, 0.4]), Some([-0.01, 0.1, 0.2])),
            judged("pixel-cosine", Some([0.1, 0.3, 0.4]), Some([-0.02, 0.1, 0.2])),
            judged("random", Some([-0.1, 0.0, 0.1]), Some([0.2, 0.4, 0.6])),
        ]);
        assert!(said.contains("next, das, is not established (10.0 points, \u{2212}1.0 to 20.0)"), "{said}");
        assert!(said.contains("Nor is it told apart from pixel-cosine."), "{said}");
        assert!(
            said.contains("a likeness which asks nothing of the network, pixel-cosine, is any worse"),
            "{said}"
        );
    }

    #[test]
    fn a_likeness_that_wins_is_called_one() {
        let mut judged = [
            judged("pixel-cosine", Some([0.3, 0.4, 0.5]), None),
            judged("influence", Some([0.1, 0.2, 0.3]), Some([0.1, 0.2, 0.3])),
        ];
        let said = said_of(&judged);
        assert!(said.contains("pixel-cosine is a likeness and asks nothing of the network"), "{said}");
        judged[0].datamodelling.without_query_mean = Some(score(Some([0.0, 0.1, 0.2])));
        judged[1].datamodelling.without_query_mean = Some(score(Some([0.1, 0.2, 0.3])));
        let said = said_of(&judged);
        assert!(
            said.ends_with(
                "With the query mean removed, influence comes first with 20.0 % (95 % interval 10.0 to 30.0)."
            ),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_better_than_chance_is_called_so() {
        let said = said_of(&[judged("random", Some([-0.1, 0.02, 0.2]), None)]);
        assert!(
            said.starts_with("That any method predicts the loss is not established: random comes first"),
            "{said}"
        );
        assert!(said.contains("random numbers, so nothing is predicted"), "{said}");
        let said = said_of(&[judged("das", Some([-0.3, -0.2, -0.1]), None)]);
        assert!(said.starts_with("All scores point the wrong way"), "{said}");
        assert!(said_of(&[judged("das", None, None)]).starts_with("No method has a score"));
        assert!(said_of(&[]).starts_with("No method has a score"));
    }
}
