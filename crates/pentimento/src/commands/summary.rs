//! The main figures of a run, as lines of text.

use pentimento_evaluation::statistics::Estimate;
use pentimento_run::figures::Figures;

/// One line per main figure.
pub(super) fn lines(figures: &Figures) -> Vec<String> {
    let mut lines = vec![format!("{} samples; 95 % intervals in brackets", figures.samples)];
    if let Some(accuracy) = figures.classifier {
        lines.push(format!(
            "classifier: {:.2} % right on {} test images",
            100.0 * accuracy.test,
            accuracy.test_images
        ));
    }
    if let Some(classes) = &figures.class_ablation {
        if let Some(agreement) = &classes.agreement_of_groups {
            lines.push(format!(
                "class moved most is the class seen: {} of {} samples seen as one of the classes",
                share(&agreement.share),
                agreement.samples
            ));
        }
        lines.push(format!("  of all samples: {}", share(&classes.agreement.share)));
        if let Some(own) = &classes.own_flips {
            lines.push(format!("own class removed, another class seen: {}", share(own)));
        }
        lines.push(format!("other class removed, another class seen: {}", share(&classes.other_flips)));
    }
    for entry in &figures.fidelity {
        let number = |estimate: &Option<Estimate>| {
            estimate.as_ref().map_or("-".into(), |e| format!("{:.3} [{:.3}, {:.3}]", e.value, e.low, e.high))
        };
        lines.push(format!(
            "{}: Pearson {}, Spearman {}, same first {}",
            entry.method.name(),
            number(&entry.fidelity.pearson),
            number(&entry.fidelity.spearman),
            share(&entry.fidelity.top_1_agreement)
        ));
    }
    for row in &figures.agreement {
        lines.push(format!("{}: {}", row.question, share(&row.share)));
    }
    lines
}

fn share(estimate: &Estimate) -> String {
    format!("{:.1} % [{:.1}, {:.1}]", 100.0 * estimate.value, 100.0 * estimate.low, 100.0 * estimate.high)
}
