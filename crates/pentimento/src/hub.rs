//! Names of the Hugging Face Hub that a person gives where a folder is asked for.

use std::path::Path;

/// Where the Hub answers.
const HOSTS: [&str; 2] = ["huggingface.co/", "hf.co/"];

/// What fetches a model of the Hub, if this is the name or the address of one: the command, and the folder that it makes.
pub(crate) fn fetching(given: &Path) -> Option<(String, String)> {
    let (name, folder) = model(given.to_str()?)?;
    Some((format!("hf download {name} --local-dir {folder}"), folder))
}

/// `owner/name` and `name` of a model.
fn model(given: &str) -> Option<(String, String)> {
    let address = given.split_once("://").map(|(scheme, rest)| (scheme, rest.trim_start_matches("www.")));
    let name = match address {
        Some(("hf", rest)) => rest,
        // Behind the name stands a page of it, such as `/tree/main`.
        Some((_, rest)) => HOSTS.into_iter().find_map(|host| rest.strip_prefix(host))?,
        None => HOSTS.into_iter().find_map(|host| given.strip_prefix(host)).unwrap_or(given),
    };
    let mut parts = name.split('/').filter(|part| !part.is_empty());
    let (owner, name, more) = (parts.next()?, parts.next()?, parts.next());
    let is_path = address.is_none() && (more.is_some() || given.starts_with(['/', '.', '~']));
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    (!is_path && plain(owner) && plain(name)).then(|| (format!("{owner}/{name}"), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_from_paths() {
        let command = "hf download google/ddpm-cifar10-32 --local-dir ddpm-cifar10-32";
        for given in [
            "google/ddpm-cifar10-32",
            "https://huggingface.co/google/ddpm-cifar10-32",
            "https://huggingface.co/google/ddpm-cifar10-32/tree/main",
            "http://www.huggingface.co/google/ddpm-cifar10-32/",
            "https://hf.co/google/ddpm-cifar10-32",
            "huggingface.co/google/ddpm-cifar10-32",
            "hf://google/ddpm-cifar10-32",
        ] {
            let (found, folder) = fetching(Path::new(given)).unwrap();
            assert_eq!((found.as_str(), folder.as_str()), (command, "ddpm-cifar10-32"), "{given}");
        }
        for given in [
            "ddpm-cifar10-32",
            "/models/cats",
            "./models/cats",
            "../cats",
            "~/cats",
            "a/b/c",
            "https://example.org/google/ddpm-cifar10-32",
            "https://huggingface.co/google",
            "google/",
            "my models/cats",
            "",
        ] {
            assert_eq!(fetching(Path::new(given)), None, "{given}");
        }
    }
}
