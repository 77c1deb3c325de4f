//! The files of a tokenizer: `vocab.json` and `merges.txt`, or `tokenizer.json`; what they are called and padded with in
//! `tokenizer_config.json` and `special_tokens_map.json`.

use crate::EncoderError;
use crate::error::bad_field;
use crate::files::read_object;
use pentimento_diffusion::checkpoint::read_text;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const WHOLE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// What the files of a tokenizer say.
pub(super) struct TokenizerFiles {
    /// The number of every token but those in `added`.
    pub(super) vocabulary: HashMap<String, u32>,
    /// In the order of their rank.
    pub(super) merges: Vec<(String, String)>,
    /// The file that has the merges.
    pub(super) file: PathBuf,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) padding: String,
    /// Tokens that are taken out of a prompt before it is cut into words, those above among them. Whether each is looked for
    /// in the normalised prompt.
    pub(super) whole_tokens: BTreeMap<String, bool>,
    /// Numbers of tokens that were added to the vocabulary.
    pub(super) added: BTreeMap<String, u32>,
    /// Most tokens of a prompt, if the files say so.
    pub(super) longest: Option<usize>,
}

impl TokenizerFiles {
    pub(super) fn read(folder: &Path) -> Result<Self, EncoderError> {
        let optional = |name: &str| -> Result<Map<String, Value>, EncoderError> {
            let path = folder.join(name);
            if path.is_file() { read_object(&path) } else { Ok(Map::new()) }
        };
        let (config, special, whole) = (optional(CONFIG)?, optional(SPECIAL)?, optional(WHOLE)?);
        refuse_other_classes(&folder.join(CONFIG), &config)?;
        let (vocabulary, merges, file) =
            if whole.is_empty() || [VOCABULARY, MERGES].iter().all(|name| folder.join(name).is_file()) {
                from_two_files(folder)?
            } else {
                from_one_file(&folder.join(WHOLE), &whole)?
            };
        let mut files = Self {
            vocabulary,
            merges,
            file,
            start: "<|startoftext|>".into(),
            end: "<|endoftext|>".into(),
            padding: "<|endoftext|>".into(),
            whole_tokens: BTreeMap::new(),
            added: BTreeMap::new(),
            longest: longest(&folder.join(CONFIG), &config)?,
        };
        // Where the two disagree, as in Stable Diffusion 2.1, the second is right.
        for (name, object) in [(CONFIG, &config), (SPECIAL, &special)] {
            files.take_special_tokens(&folder.join(name), object)?;
        }
        let special = [&files.start, &files.end, &files.padding].map(Clone::clone);
        for token in special {
            files.whole_tokens.entry(token).or_insert(false);
        }
        files.take_added_tokens(folder, &config, &whole, &optional(ADDED)?)?;
        Ok(files)
    }

    /// The number of a token.
    pub(super) fn number(&self, token: &str) -> Result<u32, EncoderError> {
        let number = self.vocabulary.get(token).or_else(|| self.added.get(token));
        number.copied().ok_or_else(|| {
            EncoderError::file(&self.file, format!("token `{token}` is not in the vocabulary"))
        })
    }

    /// A special token is a text, or an object with a text. What such an object says about how it is looked for has no effect
    /// in transformers; what [`Self::take_added_tokens`] reads has.
    fn take_special_tokens(&mut self, file: &Path, object: &Map<String, Value>) -> Result<(), EncoderError> {
        for (key, token) in
            [("bos_token", &mut self.start), ("eos_token", &mut self.end), ("pad_token", &mut self.padding)]
        {
            let Some(value) = object.get(key).filter(|value| !value.is_null()) else { continue };
            let Some(content) = content_of(value) else {
                return Err(bad_field(&file.display().to_string(), key, value, "it must be a text").into());
            };
            *token = content.into();
        }
        Ok(())
    }

    /// Tokens that were added to a vocabulary, as by textual inversion.
    fn take_added_tokens(
        &mut self,
        folder: &Path,
        config: &Map<String, Value>,
        whole: &Map<String, Value>,
        added: &Map<String, Value>,
    ) -> Result<(), EncoderError> {
        let in_config = config.get("added_tokens_decoder").and_then(Value::as_object);
        for (number, token) in in_config.into_iter().flatten() {
            self.add(&folder.join(CONFIG), token, number.parse().ok())?;
        }
        for token in whole.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            self.add(&folder.join(WHOLE), token, token.get("id").and_then(as_number))?;
        }
        for (token, number) in added {
            self.add(&folder.join(ADDED), &Value::from(token.as_str()), as_number(number))?;
        }
        Ok(())
    }

    fn add(&mut self, file: &Path, token: &Value, number: Option<u32>) -> Result<(), EncoderError> {
        let (Some(content), Some(number)) = (content_of(token), number) else {
            let bound = "an added token has a text and a number below 2^32";
            return Err(bad_field(&file.display().to_string(), "added tokens", token, bound).into());
        };
        for flag in ["single_word", "lstrip", "rstrip"] {
            if token.get(flag).and_then(Value::as_bool) == Some(true) {
                let bound = format!("the token `{content}` must be found as it stands");
                return Err(bad_field(&file.display().to_string(), flag, true, bound).into());
            }
        }
        let normalised = token.get("normalized").and_then(Value::as_bool).unwrap_or(false);
        self.whole_tokens.insert(content.into(), normalised);
        if !self.vocabulary.contains_key(content) {
            self.added.insert(content.into(), number);
        }
        Ok(())
    }
}

fn content_of(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str()).filter(|content| !content.is_empty())
}

fn as_number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn refuse_other_classes(file: &Path, config: &Map<String, Value>) -> Result<(), EncoderError> {
    match config.get("tokenizer_class") {
        Some(class) if class != "CLIPTokenizer" && class != "CLIPTokenizerFast" => Err(bad_field(
            &file.display().to_string(),
            "tokenizer_class",
            class,
            "supported is CLIPTokenizer",
        )
        .into()),
        _ => Ok(()),
    }
}

/// Files without a bound have 10^30 in its place.
fn longest(file: &Path, config: &Map<String, Value>) -> Result<Option<usize>, EncoderError> {
    const NO_BOUND: f64 = 1e9;
    let Some(value) = config.get("model_max_length").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(length) if length >= NO_BOUND => Ok(None),
        Some(length) if length >= 2.0 => Ok(Some(length as usize)),
        _ => {
            let bound = "it must be a number of at least 2, of which the first and the last token of a prompt are two";
            Err(bad_field(&file.display().to_string(), "model_max_length", value, bound).into())
        }
    }
}

type Vocabulary = (HashMap<String, u32>, Vec<(String, String)>, PathBuf);

fn from_two_files(folder: &Path) -> Result<Vocabulary, EncoderError> {
    let (vocabulary, merges) = (folder.join(VOCABULARY), folder.join(MERGES));
    for file in [&vocabulary, &merges] {
        if !file.is_file() {
            let problem = format!("does not exist, and beside it there is no {WHOLE}");
            return Err(EncoderError::file(file, problem));
        }
    }
    let text = read_text(&merges)?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        let pair = pair_of(line).ok_or_else(|| {
            EncoderError::file(
                &merges,
                format!("line {} is `{line}`, which are not two tokens: is the file cut short?", number + 1),
            )
        })?;
        pairs.push(pair);
    }
    Ok((numbers(&vocabulary, read_object(&vocabulary)?)?, pairs, merges))
}

fn from_one_file(file: &Path, whole: &Map<String, Value>) -> Result<Vocabulary, EncoderError> {
    let broken = |problem: String| EncoderError::file(file, problem);
    let Some(model) = whole.get("model").and_then(Value::as_object) else {
        return Err(broken("has no `model`".into()));
    };
    for (key, expected) in [("type", "BPE"), ("end_of_word_suffix", "</w>")] {
        if model.get(key).is_none_or(|value| value != expected) {
            let value = model.get(key).map_or_else(|| "absent".into(), ToString::to_string);
            let bound = format!("supported is {expected}, as CLIP's tokenizer has it");
            return Err(bad_field(&file.display().to_string(), &format!("model.{key}"), value, bound).into());
        }
    }
    let (Some(vocabulary), Some(merges)) =
        (model.get("vocab").and_then(Value::as_object), model.get("merges").and_then(Value::as_array))
    else {
        return Err(broken("has no `model.vocab` or no `model.merges`".into()));
    };
    let pairs = merges.iter().enumerate().map(|(rank, merge)| {
        let pair = match (merge.as_str(), merge.as_array().map(Vec::as_slice)) {
            (Some(text), _) => pair_of(text),
            (_, Some([left, right])) => left.as_str().zip(right.as_str()).map(|(l, r)| (l.into(), r.into())),
            _ => None,
        };
        pair.ok_or_else(|| broken(format!("`model.merges[{rank}]` is {merge}, which are not two tokens")))
    });
    Ok((numbers(file, vocabulary.clone())?, pairs.collect::<Result<_, _>>()?, file.into()))
}

fn pair_of(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ')?;
    (!left.is_empty() && !right.is_empty() && !right.contains(' ')).then(|| (left.into(), right.into()))
}

/// The numbers of tokens, each its own.
fn numbers(file: &Path, vocabulary: Map<String, Value>) -> Result<HashMap<String, u32>, EncoderError> {
    let mut token_of = HashMap::with_capacity(vocabulary.len());
    for (token, number) in &vocabulary {
        let Some(of_token) = as_number(number) else {
            let bound = "it must be a whole number below 2^32";
            return Err(bad_field(&file.display().to_string(), token, number, bound).into());
        };
        if let Some(other) = token_of.insert(of_token, token) {
            let bound = format!("token `{other}` has the same number");
            return Err(bad_field(&file.display().to_string(), token, number, bound).into());
        }
    }
    Ok(token_of.into_iter().map(|(number, token)| (token.clone(), number)).collect())
}
