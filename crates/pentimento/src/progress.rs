//! What people see on stderr of the events of a run: a bar on a terminal, a line now and then elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use pentimento_data::FetchEvent;
use pentimento_run::words::human_duration;
use pentimento_run::{Event, Reporter};
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Without a terminal, a stage says at most this often where it is.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Draws the events of a run on stderr.
pub fn terminal() -> Reporter {
    let shown = Mutex::new(None);
    Reporter::new(move |event| show(&mut shown.lock().unwrap_or_else(PoisonError::into_inner), event))
}

/// A stage that is shown.
struct Bar {
    stage: String,
    total: u64,
    bar: ProgressBar,
    on_terminal: bool,
    started: Instant,
    last_line: Instant,
}

fn show(shown: &mut Option<Bar>, event: &Event<'_>) {
    match event {
        Event::Began { stage, total, done } => *shown = Some(Bar::new(stage, *total, *done)),
        Event::Progressed { stage, done, detail } => {
            if let Some(bar) = shown.as_mut().filter(|bar| bar.stage == *stage) {
                bar.set(*done, detail);
            }
        }
        Event::Ended { stage, detail } => {
            let taken = match shown.take_if(|bar| bar.stage == *stage) {
                Some(bar) => {
                    bar.bar.finish_and_clear();
                    format!(" ({})", human_duration(bar.started.elapsed()))
                }
                None => String::new(),
            };
            say(&format!("{stage}: {detail}{taken}"));
        }
        // The bar says as much.
        Event::Fetch(FetchEvent::Progress { .. }) | Event::PieceMade(_) => {}
        event => {
            let text = advised(event);
            match shown {
                Some(bar) => bar.bar.suspend(|| say(&text)),
                None => say(&text),
            }
        }
    }
}

/// An event, with what this program has to do about it.
fn advised(event: &Event<'_>) -> String {
    match event {
        Event::PatchesLeftOut => format!("{event}; `--compare` with `patches` makes them"),
        Event::CheckpointsInside { folder, checkpoints } => {
            match checkpoints.iter().rfind(|checkpoint| checkpoint.damage.is_none()) {
                Some(last) => {
                    format!("{event}; `pentimento doctor {}` opens one", folder.join(&last.name).display())
                }
                None => event.to_string(),
            }
        }
        Event::ImagesOfAnotherSize { .. } => format!("{event}, and without it `attribute` refuses them"),
        event => event.to_string(),
    }
}

impl Bar {
    fn new(stage: &str, total: u64, done: u64) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix:<12} {wide_bar} {pos}/{len}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(stage.to_owned());
        bar.set_length(total);
        bar.set_position(done);
        let now = Instant::now();
        Self { stage: stage.to_owned(), total, bar, on_terminal, started: now, last_line: now }
    }

    fn set(&mut self, done: u64, detail: &str) {
        if self.on_terminal {
            self.bar.set_position(done);
            self.bar.set_message(detail.to_owned());
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            say(&format!("{}: {done} of {}, {detail}", self.stage, self.total));
        }
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
