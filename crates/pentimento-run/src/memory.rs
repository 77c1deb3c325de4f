//! What this process holds, as the system sees it.

use std::fs;

/// Memory of this process in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Held now.
    pub resident: u64,
    /// The most that was ever held, or since [`ProcessMemory::restart_peak`].
    pub peak: u64,
}

impl ProcessMemory {
    /// Reads `/proc/self/status`; none on systems that do not have it.
    pub fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Lets the peak begin again at what is held now. Where the system refuses, earlier peaks stay and a forecast is
    /// higher by them.
    pub fn restart_peak() {
        let _ = fs::write("/proc/self/clear_refs", "5");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_in_kibibytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(ProcessMemory::parse(status), Some(ProcessMemory { resident: 1 << 20, peak: 2 << 20 }));
        assert_eq!(ProcessMemory::parse("Name:\tx\n"), None);
    }

    #[test]
    fn memory_that_is_touched_is_seen() {
        let Some(before) = ProcessMemory::now() else {
            return pentimento_testing::skipped("proc", "there is no /proc/self/status");
        };
        let block = vec![1_u8; 256 << 20];
        let after = ProcessMemory::now().unwrap();
        assert!(block.iter().step_by(4096).all(|&byte| byte == 1));
        assert!(after.peak >= before.resident + (200 << 20), "{before:?} {after:?}");
    }
}
