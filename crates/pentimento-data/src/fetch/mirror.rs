//! Files over HTTP.

use std::path::Path;
use std::time::Duration;

use ureq::Agent;

use super::Delivery;
use super::cache::InstallError;
use super::package::take_from_archive;

/// Two mirrors that a network swallows cost at most 2 * (3 + 4) seconds.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing arrives for so long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// For one file; the largest has 26 MB, so this admits 30 kB/s.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// For an archive; the largest has 170 MB, so this admits 50 kB/s.
const ARCHIVE_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// The folder inside the archive of CIFAR-10, the only set that is served as one.
const ARCHIVE_FOLDER: &str = "cifar-10-batches-bin";
/// What a compressed file may be longer than the plain one. Deflate adds 5 bytes for each 16 kB it cannot compress.
const COMPRESSION_OVERHEAD_BYTES: u64 = 1 << 20;
/// What an archive may be longer than the files that are wanted: files that are there already, texts.
const ARCHIVE_OVERHEAD_BYTES: u64 = 1 << 28;

/// Downloads every missing file as `BASE/NAME.gz`, and stops at the first that fails; or takes them from the archive that
/// the address ends with.
pub(super) fn download(base: &str, delivery: &mut Delivery<'_>) -> Result<(), InstallError> {
    let is_archive = base.ends_with(".tar.gz");
    let agent: Agent = Agent::config_builder()
        .timeout_resolve(Some(RESOLVE_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(RESPONSE_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .timeout_global(Some(if is_archive { ARCHIVE_TIMEOUT } else { TOTAL_TIMEOUT }))
        .user_agent(concat!("pentimento/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    if is_archive {
        let response = agent.get(base).call().map_err(|error| InstallError::Source(error.to_string()))?;
        let limit = delivery.missing.iter().map(|file| file.bytes).sum::<u64>() + ARCHIVE_OVERHEAD_BYTES;
        let reader = response.into_body().into_with_config().limit(limit).reader();
        return take_from_archive(reader, Path::new(ARCHIVE_FOLDER), delivery);
    }
    for file in delivery.missing.clone() {
        let address = format!("{}/{}.gz", base.trim_end_matches('/'), file.name);
        let response = agent
            .get(&address)
            .call()
            .map_err(|error| InstallError::Source(format!("{}.gz: {error}", file.name)))?;
        let limit = file.bytes + COMPRESSION_OVERHEAD_BYTES;
        delivery.install(file, response.into_body().into_with_config().limit(limit).reader())?;
    }
    Ok(())
}
