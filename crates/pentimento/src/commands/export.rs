//! `pentimento export`: a network of a run as a pipeline that diffusers opens.

use super::print;
use crate::error::ProgramError;
use anyhow::{Context, Result};
use pentimento_run::imported::MEMBER_FILES;
use pentimento_run::train::member_folder;
use pentimento_run::workspace::refuse_what_is_no_run;
use pentimento_store::Run;
use std::fs;
use std::path::Path;

/// Writes the files of a member, each compared with its digest, and prints the folder.
pub(super) fn export(run_folder: &Path, folder: &Path, member: Option<u32>) -> Result<()> {
    refuse_what_is_no_run(run_folder)?;
    let run = Run::open_read_only(run_folder)?;
    let has = |member: u32| {
        let files = MEMBER_FILES.map(|file| format!("{}/{file}", member_folder(member)));
        files.iter().all(|name| run.entry(name).is_some())
    };
    let members: Vec<u32> = (0..).take_while(|&member| has(member)).collect();
    let member = match (member, members.as_slice()) {
        (Some(member), _) if has(member) => member,
        (None, &[only]) => only,
        (given, members) => {
            let value = given.map_or("to export".into(), |member| member.to_string());
            let bound = match members.len() {
                0 => format!("nothing is trained yet: `pentimento train {}`", run_folder.display()),
                count => format!("the run has {count}; say which with `--member`, 0 to {}", count - 1),
            };
            return Err(ProgramError::NoSuch { what: "member".into(), value, bound }.into());
        }
    };
    let occupied = folder.read_dir().map(|mut entries| entries.next().is_some());
    if occupied.unwrap_or(folder.exists()) {
        return Err(ProgramError::Occupied { folder: folder.display().to_string() }.into());
    }
    for file in MEMBER_FILES {
        let bytes = run.get(&format!("{}/{file}", member_folder(member)))?;
        let target = folder.join(file);
        let parent = target.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&target, bytes).with_context(|| format!("cannot write {}", target.display()))?;
    }
    print(&format!("{}", folder.display()))?;
    Ok(())
}
