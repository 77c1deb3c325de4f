//! Progress on stderr: a bar on a terminal, a line now and then elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write as _};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Without a terminal, a stage says at most this often where it is.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// "1 image", "2 images".
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// The progress of one stage; threads may share it.
pub struct Progress {
    bar: ProgressBar,
    terminal: bool,
    stage: String,
    total: u64,
    started: Instant,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// A stage with `total` units to do, of which `done` were done before.
    pub fn new(stage: &str, total: u64, done: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix:<12} {wide_bar} {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(stage.to_string());
        bar.set_length(total);
        bar.set_position(done);
        Self {
            bar,
            terminal,
            stage: stage.into(),
            total,
            started: Instant::now(),
            last_line: Mutex::new(Instant::now()),
        }
    }

    /// `done` units are done; `message` says more.
    pub fn set(&self, done: u64, message: &str) {
        if self.terminal {
            self.bar.set_position(done);
            self.bar.set_message(message.to_string());
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            say(&format!("{}: {done} of {}, {message}", self.stage, self.total));
        }
    }

    /// Ends the bar.
    pub fn finish(&self, message: &str) {
        self.bar.finish_and_clear();
        say(&format!("{}: {message} ({})", self.stage, human_duration(self.started.elapsed())));
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

/// A text for a terminal. Names of files, classes, groups and keys come from outside and may hold anything; no control
/// character of theirs reaches the terminal, which could obey it.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(shown).collect()
}

/// One line to stderr, or several of which each is [`harmless`].
pub fn say(text: &str) {
    let line = text.split('\n').map(harmless).collect::<Vec<_>>().join("\n");
    // Nobody is told of a closed stderr, and it is no reason to end hours of work.
    let _ = writeln!(std::io::stderr(), "{line}");
}
