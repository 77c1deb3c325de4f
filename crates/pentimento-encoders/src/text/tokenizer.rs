//! From a prompt to the numbers of its tokens, as CLIP's tokenizer in transformers has it (from version 5 on, and the fast one
//! before).

use super::byte_pairs::BytePairs;
use super::tokenizer_files::TokenizerFiles;
use crate::EncoderError;
use regex::Regex;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use unicode_normalization::UnicodeNormalization as _;

/// Contractions, runs of letters, single digits, and runs of everything else but space.
const WORD: &str = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

static WORDS: LazyLock<Regex> = LazyLock::new(|| pattern(WORD));

/// Before a text is cut into words, it is cut into pieces: as words, but the names of two tokens of CLIP stay together. They are
/// words then, and no tokens; what follows such a name begins another word.
static PIECES: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"<\|startoftext\|>|<\|endoftext\|>|{WORD}")));

#[expect(clippy::expect_used, reason = "the patterns are constants")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

/// A token that is taken out of a prompt as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WholeToken {
    text: String,
    id: u32,
}

/// The tokenizer of a text encoder.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    folder: String,
    pairs: BytePairs,
    /// Those that are looked for in the prompt as it is, and those in the normalised one; longer ones first.
    whole_tokens: [Vec<WholeToken>; 2],
    start: u32,
    end: u32,
    padding: WholeToken,
    longest: Option<usize>,
    /// The token with the largest number.
    last: WholeToken,
}

impl ClipTokenizer {
    /// Opens a tokenizer's folder: `vocab.json` and `merges.txt`, or `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`](pentimento_diffusion::DiffusionError::File) for files that are missing, cut short or of another
    /// kind of tokenizer, [`DiffusionError::Config`](pentimento_diffusion::DiffusionError::Config) for a value that is not
    /// supported.
    pub fn open(folder: &Path) -> Result<Self, EncoderError> {
        let files = TokenizerFiles::read(folder)?;
        let others: BTreeSet<&str> = files.whole_tokens.keys().map(String::as_str).collect();
        let pairs = BytePairs::new(&files.vocabulary, &files.merges, &others)
            .map_err(|problem| EncoderError::file(&files.file, problem))?;
        let mut whole_tokens = [Vec::new(), Vec::new()];
        for (token, &in_normalised) in &files.whole_tokens {
            let text = if in_normalised { normalised(token) } else { token.clone() };
            whole_tokens[usize::from(in_normalised)].push(WholeToken { text, id: files.number(token)? });
        }
        for tokens in &mut whole_tokens {
            tokens.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then_with(|| a.text.cmp(&b.text)));
        }
        let last = files.vocabulary.iter().chain(&files.added).max_by_key(|(_, number)| **number);
        let last = last.map_or_else(String::new, |(token, _)| token.clone());
        Ok(Self {
            folder: folder.display().to_string(),
            pairs,
            whole_tokens,
            start: files.number(&files.start)?,
            end: files.number(&files.end)?,
            padding: WholeToken { id: files.number(&files.padding)?, text: files.padding.clone() },
            longest: files.longest,
            last: WholeToken { id: files.number(&last)?, text: last },
        })
    }

    /// What errors call it.
    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// Most tokens of a prompt, with the first and the last, if its files say so.
    pub fn longest(&self) -> Option<usize> {
        self.longest
    }

    /// What prompts are padded with, and its number.
    pub fn padding(&self) -> (&str, u32) {
        (&self.padding.text, self.padding.id)
    }

    /// The token with the largest number, and the number.
    pub fn last_token(&self) -> (&str, u32) {
        (&self.last.text, self.last.id)
    }

    /// The numbers of a prompt's tokens between those of start and end, however many they are.
    pub fn ids(&self, prompt: &str) -> Vec<u32> {
        let [in_prompt, in_normalised] = &self.whole_tokens;
        let mut ids = vec![self.start];
        split(prompt, in_prompt, &mut ids, |text, ids| {
            split(&normalised(text), in_normalised, ids, |text, ids| self.encode(text, ids));
        });
        ids.push(self.end);
        ids
    }

    /// As [`ids`](Self::ids), cut or padded to `length`, of which the end is kept.
    ///
    /// # Panics
    ///
    /// If `length` is less than 2.
    pub fn padded_ids(&self, prompt: &str, length: usize) -> Vec<u32> {
        assert!(length >= 2, "length of a prompt");
        let mut ids = self.ids(prompt);
        if ids.len() > length {
            ids.truncate(length - 1);
            ids.push(self.end);
        }
        ids.resize(length, self.padding.id);
        ids
    }

    /// Adds the tokens of normalised text without tokens that are taken as a whole.
    fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        for piece in PIECES.find_iter(text) {
            for word in WORDS.find_iter(piece.as_str()) {
                self.pairs.encode(word.as_str(), ids);
            }
        }
    }
}

/// Composed (NFC) and in lower case, letter by letter. White space is left as it is, as it only parts words.
fn normalised(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).collect()
}

/// Adds the numbers of the tokens in a text, at each place the longest, and what `between` adds for the text between them.
/// `tokens` have the longer ones first.
fn split(text: &str, tokens: &[WholeToken], ids: &mut Vec<u32>, between: impl Fn(&str, &mut Vec<u32>)) {
    let (mut start, mut at) = (0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(token) = tokens.iter().find(|token| rest.starts_with(&token.text)) {
            between(&text[start..at], ids);
            ids.push(token.id);
            at += token.text.len();
            start = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    between(&text[start..], ids);
}
