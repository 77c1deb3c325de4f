//! Ctrl-C and SIGTERM.

use pentimento_run::Stop;

/// A flag that SIGINT and SIGTERM set; a second signal ends the program at once.
///
/// # Errors
///
/// If the system refuses the handler.
pub fn on_signals() -> std::io::Result<Stop> {
    let stop = Stop::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.flag())?;
        signal_hook::flag::register(signal, stop.flag())?;
    }
    Ok(stop)
}
