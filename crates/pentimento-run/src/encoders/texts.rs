//! Texts as what their encoder makes of them: each different text is encoded once, and kept in the run.

use super::RunEncoders;
use crate::drive::drive;
use crate::error::{MadeBy, Result};
use crate::event::{Event, Progress};
use crate::forecast::Forecast;
use crate::kept::kept_or_made_again;
use crate::networks::Networks;
use crate::piece::{Making, Object, Piece, Stage, missing};
use crate::words::counted;
use crate::workspace::{Workspace, fingerprint_of_computed};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_store::{Fingerprint, Run};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// The stage of the training images' captions.
pub(crate) const TEXTS: &str = "texts";
/// The stage of the prompts of samples.
const TEXTS_OF_SAMPLES: &str = "texts/samples";
/// The stage of what is said of queries.
pub(crate) const TEXTS_OF_QUERIES: &str = "texts/queries";

/// What its costs are called.
const COST: &str = "encoding texts";

/// What a network is told that is told nothing.
pub(crate) const NO_PROMPT: &str = "";

/// Texts of a piece: in the sizes of Stable Diffusion 15 MB.
const TEXTS_PER_PIECE: usize = 64;
/// Texts that are encoded at once.
const TEXTS_AT_ONCE: usize = 16;

/// What becomes of some texts.
#[derive(Clone, Debug, Default)]
pub struct Texts(BTreeMap<String, TextEmbedding>);

impl Texts {
    /// What a network is told by a text; nothing for one that is none of these.
    pub fn condition(&self, text: &str) -> Condition {
        self.0.get(text).cloned().map_or(Condition::None, Condition::Text)
    }
}

/// What the prompts of a run's samples become, and the empty prompt; nothing of networks that are told no texts.
///
/// # Errors
///
/// As [`EncodingTexts::complete`].
pub fn texts_of_samples(workspace: &Workspace, networks: &Networks<'_>) -> Result<Texts> {
    let Some(encoders) = networks.encoders.as_ref().filter(|_| networks.knows_texts()) else {
        return Ok(Texts::default());
    };
    let prompts = workspace.recipe.samples.prompts.iter().map(String::as_str);
    EncodingTexts::new(workspace, encoders, TEXTS_OF_SAMPLES, prompts.chain([NO_PROMPT])).complete()
}

/// The stage: a piece is 64 different texts.
pub struct EncodingTexts<'a> {
    workspace: &'a Workspace,
    encoders: &'a RunEncoders,
    name: &'static str,
    /// In the order in which they are first met.
    texts: Vec<String>,
}

impl<'a> EncodingTexts<'a> {
    /// Encoding texts in the stage of this name, each of them once.
    pub(crate) fn new<'t>(
        workspace: &'a Workspace,
        encoders: &'a RunEncoders,
        name: &'static str,
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        let mut seen = BTreeSet::new();
        let texts = texts.into_iter().filter(|text| seen.insert(*text)).map(str::to_owned).collect();
        Self { workspace, encoders, name, texts }
    }

    /// Encodes what is missing, and gives all. In a run that is open for reading only, prompts are encoded for this time.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`](crate::RunError::Missing) for captions that are not encoded, in such a run; as encoding them.
    pub fn complete(&self) -> Result<Texts> {
        let run = &self.workspace.run;
        if !run.is_read_only() {
            drive(self.workspace, self)?;
        }
        let mut found = BTreeMap::new();
        for piece in self.pieces()? {
            let texts = self.of_piece(&piece);
            let (states, width) = if run.is_read_only() && !piece.is_in(run) {
                if self.name == TEXTS {
                    let what = "the embeddings of the captions".into();
                    return Err(self.workspace.missing(what, MadeBy::Encoding));
                }
                (self.encoded(texts)?, self.encoders.text_encoder()?.width())
            } else {
                let bytes = kept_or_made_again(self.workspace, self, &piece)?;
                let name = object_name(piece.made_from);
                let arrays = ArrayReader::new(&bytes, &name)?;
                let width = arrays.shape("states")?.last().copied().unwrap_or(0);
                (arrays.f32("states")?, width)
            };
            let length = states.len() / texts.len().max(1);
            if width == 0 || length == 0 || !length.is_multiple_of(width) {
                let (object, problem) = (object_name(piece.made_from), "no embeddings of texts".into());
                return Err(crate::RunError::Inconsistent { object, problem });
            }
            for (text, states) in texts.iter().zip(states.chunks_exact(length)) {
                found.insert(text.clone(), TextEmbedding::new(states.to_vec(), width));
            }
        }
        Ok(Texts(found))
    }

    /// How long those that are missing will take, from one of them; none if none is.
    ///
    /// # Errors
    ///
    /// As making them.
    pub(crate) fn forecast(&self) -> Result<Option<Forecast>> {
        let missing = missing(self, &self.workspace.run)?;
        let texts: usize = missing.iter().map(|piece| self.of_piece(piece).len()).sum();
        let Some(first) = missing.first().and_then(|piece| self.of_piece(piece).first()) else {
            return Ok(None);
        };
        let first = std::slice::from_ref(first);
        // The first time opens the text encoder too.
        self.encoded(first)?;
        let started = Instant::now();
        let states = self.encoded(first)?;
        let seconds = started.elapsed().as_secs_f64() * texts as f64;
        let work = format!("{} to embeddings", counted(texts, "text"));
        // Those of all texts are in memory together.
        let bytes = size_of_val(states.as_slice()) * self.texts.len();
        Ok(Some(Forecast::new(COST, work, seconds, bytes)))
    }

    /// What stands in for embeddings that are not made, where only time counts.
    pub(crate) fn stand_in(&self, condition: &Condition) -> Texts {
        let Condition::Text(text) = condition else { return Texts::default() };
        Texts(self.texts.iter().map(|of| (of.clone(), text.clone())).collect())
    }

    fn of_piece(&self, piece: &Piece) -> &[String] {
        self.texts.chunks(TEXTS_PER_PIECE).nth(piece.number).unwrap_or_default()
    }

    /// The states of some texts, `[texts, tokens, width]`.
    fn encoded(&self, texts: &[String]) -> Result<Vec<f32>> {
        let mut states = Vec::new();
        for some in texts.chunks(TEXTS_AT_ONCE) {
            self.workspace.options.stop.check()?;
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            states.extend(self.encoders.text_encoder()?.embeddings(&some, 0)?);
        }
        Ok(states)
    }
}

fn object_name(made_from: Fingerprint) -> String {
    format!("texts/{}.safetensors", &made_from.to_string()[..16])
}

impl Stage for EncodingTexts<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn cost_name(&self) -> &str {
        COST
    }

    fn asks_queries(&self) -> bool {
        self.name == TEXTS_OF_QUERIES
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let piece = |(number, texts): (usize, &[String])| {
            let digest = self.encoders.text_digest().map(|digest| digest.to_string());
            let made_from = fingerprint_of_computed("texts").json(&digest)?.json(&texts)?.finish();
            Ok(Piece { stage: self.name.into(), number, objects: vec![object_name(made_from)], made_from })
        };
        self.texts.chunks(TEXTS_PER_PIECE).enumerate().map(piece).collect()
    }

    fn begin(&self, _run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let encoder = self.encoders.text_encoder()?;
        let missing_texts = missing.iter().flat_map(|piece| self.of_piece(piece));
        let cut: Vec<&String> = missing_texts.filter(|text| encoder.cuts(text)).collect();
        if let Some(first) = cut.first() {
            let tokens = encoder.length();
            self.workspace.reporter().tell(Event::TextsCut { texts: cut.len(), tokens, first });
        }
        let done = all - missing.len();
        Ok(self.workspace.reporter().begin(self.cost_name(), all as u64, done as u64))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        making.tell_place("parts");
        let texts = self.of_piece(piece);
        let states = making.spent.time(self.cost_name(), texts.len(), || self.encoded(texts))?;
        let width = self.encoders.text_encoder()?.width();
        let tokens = states.len() / (texts.len() * width).max(1);
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("states", &[texts.len(), tokens, width], &states);
        let name = object_name(piece.made_from);
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        Some(counted(self.texts.len(), "text"))
    }
}
