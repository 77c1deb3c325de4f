//! The statistics against SciPy, scikit-learn, mpmath and exact integer arithmetic; `make_statistics.py` made the fixture.

#![expect(clippy::unwrap_used, reason = "a broken fixture should fail the test")]

use pentimento_statistics::{
    Gain, binomial_test_above, correlation_test, mann_whitney, ndcg_at, pearson, precision_at, recall_at,
    spearman, student_t_ln_p_value, wilcoxon, wilson_interval,
};
use serde_json::Value;

fn cases(kind: &str) -> Vec<Value> {
    let fixture: Value = serde_json::from_str(include_str!("statistics.json")).unwrap();
    let cases = fixture[kind].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap()
}

fn count(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap()
}

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    case[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_close(actual: f64, expected: f64, tolerance: f64, case: &Value) {
    let scale = expected.abs().max(1e-300);
    assert!((actual - expected).abs() <= tolerance * scale, "{actual} instead of {expected} in {case}");
}

#[test]
fn correlations_are_scipys() {
    for case in cases("correlations") {
        let (left, right) = (numbers(&case, "left"), numbers(&case, "right"));
        assert_close(pearson(&left, &right).unwrap().unwrap(), number(&case, "pearson"), 1e-12, &case);
        assert_close(spearman(&left, &right).unwrap().unwrap(), number(&case, "spearman"), 1e-12, &case);
    }
}

#[test]
fn mann_whitney_is_scipys() {
    for case in cases("mann_whitney") {
        let (a, b) = (numbers(&case, "a"), numbers(&case, "b"));
        let test = mann_whitney(&a, &b).unwrap();
        assert_eq!(test.u, number(&case, "u"), "{case}");
        assert_close(test.p_value, number(&case, "p"), 1e-10, &case);
        assert_close(libm::exp(test.ln_p_value), number(&case, "p"), 1e-10, &case);
        assert_eq!(test.area_under_curve, test.u / (a.len() * b.len()) as f64);
    }
}

#[test]
fn p_values_below_the_range_of_f64_have_a_logarithm() {
    for case in cases("mann_whitney_apart") {
        let size = count(&case, "size") as u32;
        let a: Vec<u32> = (0..size).collect();
        let b: Vec<u32> = (size..2 * size).collect();
        let test = mann_whitney(&a, &b).unwrap();
        assert_eq!((test.u, test.rank_biserial), (0.0, -1.0));
        assert_close(test.z, number(&case, "z"), 1e-13, &case);
        assert_close(test.ln_p_value, number(&case, "ln_p"), 1e-12, &case);
        assert_eq!(test.p_value == 0.0, test.ln_p_value < -745.2, "{case}");
    }
}

#[test]
fn wilson_intervals_are_scipys() {
    for case in cases("wilson") {
        let (successes, trials) = (count(&case, "successes"), count(&case, "trials"));
        let interval = wilson_interval(successes, trials, number(&case, "confidence")).unwrap();
        assert!((interval.low - number(&case, "low")).abs() < 1e-12, "{interval:?} {case}");
        assert!((interval.high - number(&case, "high")).abs() < 1e-12, "{interval:?} {case}");
    }
}

#[test]
fn binomial_tails_are_exact() {
    for case in cases("binomial") {
        let (successes, trials) = (count(&case, "successes"), count(&case, "trials"));
        let test = binomial_test_above(successes, trials, number(&case, "chance")).unwrap();
        let expected = number(&case, "ln_p");
        // ln p is a difference of logarithms as large as itself, of which f64 keeps 15 or 16 digits.
        assert!((test.ln_p_value - expected).abs() < 1e-10 + 1e-12 * expected.abs(), "{test:?} {case}");
        if expected > -700.0 {
            assert_close(test.p_value, libm::exp(expected), 1e-9, &case);
        }
    }
}

#[test]
fn wilcoxon_is_scipys() {
    for case in cases("wilcoxon") {
        let (left, right) = (numbers(&case, "left"), numbers(&case, "right"));
        let test = wilcoxon(&left, &right).unwrap();
        assert_eq!(test.positive_rank_sum.min(test.negative_rank_sum), number(&case, "statistic"), "{case}");
        assert_close(test.z.abs(), number(&case, "absolute_z"), 1e-13, &case);
        // SciPy sums up to 1275 rounded probabilities.
        assert_close(test.p_value, number(&case, "p"), 1e-12, &case);
        assert!((test.ln_p_value - libm::log(number(&case, "p"))).abs() < 1e-12, "{case}");
    }
}

#[test]
fn signed_ranks_below_the_range_of_f64_have_a_logarithm() {
    for case in cases("wilcoxon_one_sided") {
        let size = count(&case, "size") as u32;
        let test = wilcoxon(&(1..=size).collect::<Vec<u32>>(), &vec![0; size as usize]).unwrap();
        assert_eq!((test.negative_rank_sum, test.rank_biserial, test.exact), (0.0, 1.0, false));
        assert_close(test.z, number(&case, "z"), 1e-13, &case);
        assert_close(test.ln_p_value, number(&case, "ln_p"), 1e-12, &case);
    }
}

/// The logarithm is a sum of a few parts of its own size or smaller, so it is exact to a few roundings; the smallest are
/// those of 1.
#[track_caller]
fn assert_ln_close(actual: f64, expected: f64, case: &Value) {
    let tolerance = 1e-14 * (1.0 + expected.abs());
    assert!((actual - expected).abs() < tolerance, "{actual} instead of {expected} in {case}");
}

#[test]
fn tails_of_student_are_exact() {
    for case in cases("student_t") {
        let ln_p = student_t_ln_p_value(number(&case, "t"), number(&case, "degrees_of_freedom")).unwrap();
        assert_ln_close(ln_p, number(&case, "ln_p"), &case);
    }
}

#[test]
fn tests_of_correlations_are_exact() {
    for case in cases("correlation_test") {
        let test = correlation_test(number(&case, "correlation"), count(&case, "pairs") as usize).unwrap();
        let expected = number(&case, "ln_p");
        assert_ln_close(test.ln_p_value.unwrap(), expected, &case);
        assert_eq!(test.p_value == 0.0, expected < -745.2, "{case}");
    }
    for case in cases("correlation_test_of_data") {
        let (left, right) = (numbers(&case, "left"), numbers(&case, "right"));
        let p_value =
            |correlation: Option<f64>| correlation_test(correlation.unwrap(), left.len()).unwrap().p_value;
        // A relative error e of r is one of up to ν r² / (1 - r²) e of p: here at most 1600 times 1e-16.
        assert_close(p_value(pearson(&left, &right).unwrap()), number(&case, "pearson_p"), 1e-12, &case);
        assert_close(p_value(spearman(&left, &right).unwrap()), number(&case, "spearman_p"), 1e-12, &case);
    }
}

#[test]
fn retrieval_is_that_of_scikit_learn() {
    for case in cases("retrieval") {
        let (relevances, scores) = (numbers(&case, "relevances"), numbers(&case, "scores"));
        let relevant: Vec<bool> =
            case["relevant"].as_array().unwrap().iter().map(|relevant| relevant.as_bool().unwrap()).collect();
        let first = count(&case, "first") as usize;
        let ndcg = |gain| ndcg_at(&relevances, &scores, first, gain).unwrap().unwrap();
        assert_close(ndcg(Gain::Exponential), number(&case, "exponential"), 1e-14, &case);
        assert_close(ndcg(Gain::Linear), number(&case, "linear"), 1e-14, &case);
        assert_close(
            precision_at(&relevant, &scores, first).unwrap(),
            number(&case, "precision"),
            1e-14,
            &case,
        );
        let recall = recall_at(&relevant, &scores, first).unwrap().unwrap();
        assert_close(recall, number(&case, "recall"), 1e-14, &case);
    }
}
