//! As many draws as it takes: groups of draws are taken in rounds, each of which doubles them, until scores are reliable enough.
//!
//! Which groups a round adds does not depend on what came before it ([`DrawPlan`]), so what is in the run stays in use, and the
//! scores after a round are those of a recipe that gives as many groups. Only the time that a person allows depends on the
//! machine: it ends with the scores of the last round that was finished.
//!
//! The first round that is reliable enough ends them, so the reliability that is told is on the high side, by a part of its own error. That
//! error is small where each image has noise of its own, and not where images share it: then it stands on as few blocks as were left out.

use super::subject::Subject;
use crate::error::{Result, RunError};
use crate::event::Event;
use crate::recipe::Recipe;
use pentimento_attribution::gradient::{DrawPlan, FIRST_GROUPS, Spread, most_groups};
use serde::Serialize;

/// What a score's draws were ended by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The recipe gives the number of groups, or the method has a fixed one.
    FixedNumber,
    /// The reliability that the recipe asks for is reached.
    Reliability,
    /// Twice as many are more than the recipe allows.
    MostDraws,
    /// Twice as many are more than the schedule has timesteps.
    Schedule,
    /// The time that was allowed is used.
    Time,
}

impl EndedBy {
    /// The same as a clause.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::FixedNumber => "their number is fixed",
            Self::Reliability => "no more were taken, as that is as much as `gradients.reliability` asks for",
            Self::MostDraws => "no more were taken, as twice as many are more than `gradients.most_draws`",
            Self::Schedule => "no more were taken, as twice as many are more than the schedule has timesteps",
            Self::Time => "no more were taken, as the time allowed was used; the same command goes on",
        }
    }
}

/// How many draws a recipe asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rounds {
    /// Timesteps of a group.
    pub timesteps: usize,
    /// Groups of the first round.
    pub first: usize,
    /// Groups of the last one that there may be.
    pub most: usize,
    /// Why there are no more.
    ended_by: EndedBy,
}

impl Rounds {
    /// Those of a recipe. Of a schedule with few timesteps all are taken, in smaller groups.
    pub fn of(recipe: &Recipe) -> Self {
        let (settings, total) = (recipe.gradients, recipe.schedule.num_train_timesteps.max(1));
        let mut first = settings.groups.unwrap_or(FIRST_GROUPS);
        // As many groups as are distinct grids.
        if first.next_power_of_two() > total {
            first = most_groups(total, 1);
        }
        let timesteps = settings.timesteps.min(total / first.next_power_of_two());
        if settings.groups.is_some() {
            return Self { timesteps, first, most: first, ended_by: EndedBy::FixedNumber };
        }
        let of_group = timesteps * if settings.antithetic { 2 } else { 1 };
        let of_schedule = most_groups(total, timesteps);
        let (mut most, mut ended_by) = (first, EndedBy::MostDraws);
        while 2 * most * of_group <= settings.most_draws && 2 * most <= of_schedule {
            most *= 2;
        }
        if 2 * most > of_schedule {
            ended_by = EndedBy::Schedule;
        }
        Self { timesteps, first, most, ended_by }
    }
}

/// What a method found with the draws of the last round.
pub(crate) struct InRounds<T> {
    /// What it found.
    pub found: T,
    /// The draws of a training image.
    pub draws: DrawPlan,
    /// What ended them.
    pub ended_by: EndedBy,
}

/// Lets a method score in rounds, until the recipe's reliability is reached or there are no more draws or there is no more time.
/// `of_round` finds scores with the draws of the subject that it is handed, `scores_of` are these scores and how much they
/// differ. A method that does not `adapt` has one round.
///
/// # Errors
///
/// Those of a round; [`RunError::Stopped`] once it is asked to stop.
pub(crate) fn in_rounds<T>(
    subject: &Subject<'_>,
    method: &'static str,
    adapts: bool,
    mut of_round: impl FnMut(&Subject<'_>) -> Result<T>,
    scores_of: impl Fn(&T) -> (&[Vec<f64>], &Spread),
) -> Result<InRounds<T>> {
    let (workspace, rounds) = (subject.workspace, Rounds::of(&subject.workspace.recipe));
    let wanted = workspace.recipe.gradients.reliability;
    let mut last =
        InRounds { found: of_round(subject)?, draws: subject.draws(), ended_by: EndedBy::FixedNumber };
    if !adapts || workspace.recipe.gradients.groups.is_some() {
        return Ok(last);
    }
    loop {
        let (scores, spread) = scores_of(&last.found);
        let reliability = spread.reliability(scores);
        if reliability.is_some_and(|reliability| reliability >= wanted) {
            return Ok(InRounds { ended_by: EndedBy::Reliability, ..last });
        }
        if last.draws.groups >= rounds.most {
            return Ok(InRounds { ended_by: rounds.ended_by, ..last });
        }
        let next = subject.in_round(2 * last.draws.groups);
        if workspace.options.time_allowed.is_used() {
            return Ok(InRounds { ended_by: EndedBy::Time, ..last });
        }
        let (draws, more) = (last.draws.count(), next.draws().count());
        let reliability = reliability.unwrap_or_default();
        workspace.reporter().tell(Event::MoreDraws { method, draws, reliability, wanted, more });
        match of_round(&next) {
            Ok(found) => last = InRounds { found, draws: next.draws(), ended_by: EndedBy::FixedNumber },
            // The round that was not finished is left: what it has made is used when there is time again.
            Err(RunError::Stopped) if !workspace.options.stop.is_set() => {
                return Ok(InRounds { ended_by: EndedBy::Time, ..last });
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(settings: &str, schedule: usize) -> Rounds {
        let text = format!(
            "name = \"r\"\n[data]\npath = \"p\"\n[schedule]\nnum_train_timesteps = {schedule}\n[gradients]\n{settings}\n"
        );
        let text = format!("{text}[sampling]\nsteps = 1\n[codes]\nmembers = 2\nweight = 1\n");
        Rounds::of(&Recipe::parse(&text, "recipe", &[]).unwrap())
    }

    #[test]
    fn groups_are_doubled_within_the_bound_and_the_schedule() {
        let found = |settings, schedule| {
            let Rounds { timesteps, first, most, ended_by } = rounds(settings, schedule);
            (timesteps, first, most, ended_by)
        };
        assert_eq!(found("", 1000), (10, 4, 32, EndedBy::MostDraws));
        assert_eq!(found("most_draws = 79", 1000), (10, 4, 4, EndedBy::MostDraws));
        assert_eq!(found("most_draws = 80", 1000), (10, 4, 8, EndedBy::MostDraws));
        assert_eq!(found("antithetic = true", 1000), (10, 4, 16, EndedBy::MostDraws));
        assert_eq!(found("most_draws = 100000", 1000), (10, 4, 64, EndedBy::Schedule));
        // Smaller groups of a schedule with few timesteps, which may have them all in the first round.
        assert_eq!(found("", 100), (10, 4, 8, EndedBy::Schedule));
        assert_eq!(found("", 20), (5, 4, 4, EndedBy::Schedule));
        assert_eq!(found("", 3), (1, 2, 2, EndedBy::Schedule));
        assert_eq!(found("groups = 6", 1000), (10, 6, 6, EndedBy::FixedNumber));
        assert_eq!(found("groups = 6", 20), (2, 6, 6, EndedBy::FixedNumber));
    }
}
