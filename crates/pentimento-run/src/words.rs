//! Counts, names and durations in words, for messages.

use pentimento_diffusion::checkpoint::AdapterForm;
use pentimento_diffusion::unet::AdapterModule;
use pentimento_diffusion::untrained::Untrained;
use std::time::Duration;

/// "1 image", "2 images", "2 queries".
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (count, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        (count, _) => format!("{count} {noun}s"),
    }
}

/// The first dozen of some names: `a, b, c, …`.
pub fn first_of(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(12).map(String::as_str).collect();
    let more = if names.len() > first.len() { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

/// Characters of a text that people are shown in a line.
const LONGEST_QUOTED: usize = 120;

/// A text that a network is told, as people read it: in one line, and only the beginning of a long one.
pub fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_QUOTED) {
        _ if text.is_empty() => "no prompt".into(),
        Some((end, _)) => format!("“{} …”", &line[..end]),
        None => format!("“{line}”"),
    }
}

/// `1 h 02 min`, `3 min 07 s`, `4.2 s`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 3600 {
        format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60)
    } else if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// `123 MiB`, rounded up, so that what is said to fit does.
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// What an adapter is that was opened, as sentences.
pub(crate) fn adapter_in_words(
    form: AdapterForm,
    modules: &[AdapterModule],
    parameters: usize,
    of_text: usize,
) -> String {
    let range = |of: &dyn Fn(&AdapterModule) -> f64| {
        let least = modules.iter().map(of).fold(f64::INFINITY, f64::min);
        let most = modules.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        if least == most { least.to_string() } else { format!("{least} to {most}") }
    };
    let of_text = match of_text {
        0 => String::new(),
        layers => format!("; it also adds to {} of the text encoder", counted(layers, "layer")),
    };
    format!(
        "adapter of rank {} on {}, {parameters} parameters, in the form of {form}{of_text}. Its parts B A are multiplied \
         with {}, as its file says (1 where it says nothing): gradients are those of A and B at this split of the scale",
        range(&|module| module.rank as f64),
        counted(modules.len(), "layer"),
        range(&AdapterModule::scale)
    )
}

/// A sign that a network was never trained, as a sentence.
pub(crate) fn untrained_in_words(sign: Untrained) -> &'static str {
    match sign {
        Untrained::LastLayerZero => {
            "the network's last layer is zero, so it answers zero to every image: it was never trained, or is a moving average \
             that was never updated"
        }
        Untrained::NormsAsInitialised => {
            "the network's norms have the very values with which training begins (weights 1, biases 0): it was never trained, or \
             is a moving average that was never updated"
        }
    }
}
