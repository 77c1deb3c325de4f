//! Who made a page, where and when.

use crate::recipe::Recipe;
use pentimento_report::MadeWith;

/// The lines under a page's title.
pub(super) fn made_with(recipe: &Recipe) -> MadeWith {
    MadeWith {
        version: format!("pentimento {}", env!("CARGO_PKG_VERSION")),
        recipe_name: recipe.name.clone(),
        machine: machine(),
        date: today(),
    }
}

/// Processor and number of threads.
pub fn machine() -> String {
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        line.split_once(':').map(|(_, name)| name.trim().to_string())
    });
    let threads = rayon::current_num_threads();
    format!("{}, {threads} threads", name.unwrap_or_else(|| std::env::consts::ARCH.into()))
}

/// The date in UTC, from the system's clock (Hinnant's civil-from-days).
fn today() -> String {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
