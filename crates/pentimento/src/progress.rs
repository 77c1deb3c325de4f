//! What people see on stderr of the events of a run: a bar on a terminal, a line now and then elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use pentimento_data::FetchEvent;
use pentimento_run::words::human_duration;
use pentimento_run::{Event, Reporter};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Without a terminal, a stage says first after so long where it is, and then at most so often.
const FIRST_LINE: Duration = Duration::from_secs(2);
const LINE_EVERY: Duration = Duration::from_secs(15);

/// The speed is taken over so many of the last moments, which are at least so far apart: over a minute, or over so many units
/// where they are long. So a machine that slept, or was busy with something else, is soon forgotten.
const MOMENTS: usize = 60;
const MOMENT_EVERY: Duration = Duration::from_secs(1);

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
    speed: Speed,
    next_line: Instant,
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
        let (stage, next_line) = (stage.to_owned(), now + FIRST_LINE);
        Self { stage, total, bar, on_terminal, started: now, speed: Speed::default(), next_line }
    }

    fn set(&mut self, done: u64, detail: &str) {
        let now = Instant::now();
        self.speed.note(done, now);
        let is_due = !self.on_terminal && now >= self.next_line;
        if !self.on_terminal && !is_due {
            return;
        }
        let left = self.speed.time_left(done, self.total, now);
        let said: Vec<String> =
            [detail.to_owned()].into_iter().filter(|detail| !detail.is_empty()).chain(left).collect();
        let said = said.join(", ");
        if self.on_terminal {
            self.bar.set_position(done);
            self.bar.set_message(said);
        } else {
            self.next_line = now + LINE_EVERY;
            let comma = if said.is_empty() { "" } else { ", " };
            say(&format!("{}: {done} of {}{comma}{said}", self.stage, self.total));
        }
    }
}

/// How fast units are done.
#[derive(Default)]
struct Speed {
    /// How many were done, and when; the oldest first.
    moments: VecDeque<(u64, Instant)>,
}

impl Speed {
    fn note(&mut self, done: u64, now: Instant) {
        if self.moments.back().is_some_and(|(_, last)| now - *last < MOMENT_EVERY) {
            return;
        }
        self.moments.push_back((done, now));
        if self.moments.len() > MOMENTS {
            self.moments.pop_front();
        }
    }

    fn time_left(&self, done: u64, total: u64, now: Instant) -> Option<String> {
        let (before, since) = *self.moments.front()?;
        time_left(done.saturating_sub(before), total.saturating_sub(done), now - since)
    }
}

/// What is left of the time, if all units take as long as those that were done; none before a second has passed.
fn time_left(done: u64, left: u64, taken: Duration) -> Option<String> {
    if done == 0 || taken < Duration::from_secs(1) {
        return None;
    }
    let seconds = taken.as_secs_f64() * left as f64 / done as f64;
    Some(format!("{} left", human_duration(Duration::try_from_secs_f64(seconds).ok()?)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_done_here() {
        let of = |done, left, seconds| time_left(done, left, Duration::from_secs(seconds));
        assert_eq!(of(10, 30, 20).as_deref(), Some("1 min 00 s left"));
        assert_eq!(of(7199, 6 * 7199, 600).as_deref(), Some("1 h 00 min left"));
        assert_eq!(of(5, 0, 20).as_deref(), Some("0.0 s left"));
        assert_eq!((of(0, 30, 20), of(10, 30, 0)), (None, None));
    }

    #[test]
    fn a_machine_that_slept_is_forgotten() {
        let begun = Instant::now();
        let mut speed = Speed::default();
        let mut told = |seconds: u64, done: u64| {
            let now = begun + Duration::from_secs(seconds);
            speed.note(done, now);
            speed.time_left(done, 1000, now)
        };
        // A unit each second, and an hour of sleep between the 100th and the 101st.
        for second in 0..=100 {
            told(second, second);
        }
        assert_eq!(told(101, 101).as_deref(), Some("14 min 59 s left"));
        for second in 102..200 {
            told(3600 + second, second);
        }
        assert_eq!(told(3800, 200).as_deref(), Some("13 min 20 s left"));
    }
}
