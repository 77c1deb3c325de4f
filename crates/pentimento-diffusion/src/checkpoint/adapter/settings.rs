//! The configuration of PEFT, of which the scale of an adapter follows.

use crate::DiffusionError;
use crate::error::from_object;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Keys under which stands what is not done, each with what it is.
const NOT_DONE: [(&str, &str); 10] = [
    ("use_dora", "DoRA, which also scales each row of a layer"),
    ("use_qalora", "quantised adapters"),
    ("use_bdlora", "block-diagonal adapters"),
    ("lora_bias", "a bias beside B"),
    ("alora_invocation_tokens", "adapters that act behind certain tokens"),
    ("arrow_config", "several adapters with a router"),
    ("layer_replication", "repeated layers"),
    ("modules_to_save", "layers that are trained as a whole"),
    ("target_parameters", "parameters that are no layers"),
    ("trainable_token_indices", "trained tokens"),
];

/// First values under which PEFT leaves the network as it is. All others (`pissa`, `olora`, `corda`, `loftq`, `lora_ga`, ...) take from
/// its weights what A and B begin with, each time that the adapter is opened: the adapter is one of another network.
const KEEP_THE_NETWORK: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// Ranks and alphas of an adapter's layers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    file: String,
    prefix: String,
    keys: Keys,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Keys {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    rank_pattern: Option<BTreeMap<String, usize>>,
    #[serde(default)]
    alpha_pattern: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    use_rslora: Option<bool>,
}

impl Settings {
    /// Reads the keys that begin with `prefix`, without it; errors call the file `file`. None if no key begins so.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for a key that is missing or of another kind, and for what is not done.
    pub(super) fn new(
        object: &Map<String, Value>,
        prefix: &str,
        file: &str,
    ) -> Result<Option<Self>, DiffusionError> {
        let own = object.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
        let own: Map<String, Value> = own.map(|(key, value)| (key.into(), value.clone())).collect();
        if own.is_empty() {
            return Ok(None);
        }
        let bad = |key: &str, value: &Value, bound: String| DiffusionError::Config {
            file: file.into(),
            field: format!("{prefix}{key}"),
            value: value.to_string(),
            bound,
        };
        for (key, what) in NOT_DONE {
            if let Some(value) = own.get(key).filter(|value| says_something(value)) {
                return Err(bad(key, value, format!("{what}; supported are A and B of LoRA")));
            }
        }
        for (key, supported) in [("peft_type", "LORA"), ("bias", "none")] {
            if let Some(value) = own.get(key).filter(|value| says_something(value))
                && value.as_str() != Some(supported)
            {
                return Err(bad(key, value, format!("supported is {supported:?}")));
            }
        }
        const FIRST_VALUES: &str = "init_lora_weights";
        if let Some(Value::String(kind)) = own.get(FIRST_VALUES)
            && !KEEP_THE_NETWORK.contains(&kind.to_lowercase().as_str())
        {
            let bound = "such an adapter takes its first values away from the network's weights; of pissa, corda and olora peft's \
                         save_pretrained writes an ordinary one, with `path_initial_model_for_weight_conversion`";
            return Err(bad(FIRST_VALUES, &Value::String(kind.clone()), bound.into()));
        }
        let keys = from_object(own, file)?;
        Ok(Some(Self { file: file.into(), prefix: prefix.into(), keys }))
    }

    /// Alpha of a layer whose A has so many outputs, such that its scale is alpha over the rank.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if the settings have another rank for the layer, or leave alpha open.
    pub(super) fn alpha(&self, module: &str, rank: usize) -> Result<f64, DiffusionError> {
        let Keys { r, lora_alpha, rank_pattern, alpha_pattern, use_rslora } = &self.keys;
        let of_rank = self.of_pattern("rank_pattern", rank_pattern.as_ref(), module)?.unwrap_or(*r);
        if of_rank != rank {
            let bound = format!("A of `{module}` has {rank} outputs");
            return Err(self.bad("r", of_rank.to_string(), bound));
        }
        let alpha = self.of_pattern("alpha_pattern", alpha_pattern.as_ref(), module)?.unwrap_or(*lora_alpha);
        let root = if *use_rslora == Some(true) { (rank as f64).sqrt() } else { 1.0 };
        Ok(alpha * root)
    }

    /// What a pattern says of a layer: its keys are names, or how names end behind a dot.
    fn of_pattern<T: Copy + PartialEq>(
        &self,
        field: &str,
        pattern: Option<&BTreeMap<String, T>>,
        module: &str,
    ) -> Result<Option<T>, DiffusionError> {
        let mut found: Option<(&str, T)> = None;
        for (key, &value) in pattern.into_iter().flatten() {
            let (name, is_whole) = match key.strip_prefix('^') {
                Some(name) => (name, true),
                None => (key.as_str(), false),
            };
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
                let bound = "supported are names and ends of names, not patterns of them".into();
                return Err(self.bad(field, format!("for {key:?}"), bound));
            }
            let rest = module.strip_suffix(name);
            if !rest.is_some_and(|rest| rest.is_empty() || (!is_whole && rest.ends_with('.'))) {
                continue;
            }
            match found {
                Some((other, of_other)) if of_other != value => {
                    let bound = format!("both stand for `{module}`");
                    return Err(self.bad(field, format!("for {other:?} not as for {key:?}"), bound));
                }
                _ => found = Some((key, value)),
            }
        }
        Ok(found.map(|(_, value)| value))
    }

    fn bad(&self, key: &str, value: String, bound: String) -> DiffusionError {
        let field = format!("{}{key}", self.prefix);
        DiffusionError::Config { file: self.file.clone(), field, value, bound }
    }
}

/// Whether a value is more than nothing, no, or an empty list.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: Value) -> Result<Settings, String> {
        let Value::Object(object) = value else { unreachable!() };
        Settings::new(&object, "unet.", "file").map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn alpha_of_each_layer() {
        let found = settings(json!({
            "unet.r": 4, "unet.lora_alpha": 8, "unet.rank_pattern": {"to_q": 16, "^a.proj": 2},
            "unet.alpha_pattern": {"attn1.to_q": 1.5}, "text_encoder.r": 100,
        }))
        .unwrap();
        let alpha = |module, rank| found.alpha(module, rank).map_err(|error| error.to_string());
        assert_eq!(alpha("a.attn1.to_q", 16), Ok(1.5));
        assert_eq!(alpha("a.attn2.to_q", 16), Ok(8.0));
        assert_eq!(alpha("a.into_q", 4), Ok(8.0));
        assert_eq!(alpha("a.proj", 2), Ok(8.0));
        assert_eq!(alpha("b.a.proj", 4), Ok(8.0));
        assert_eq!(alpha("a.to_k", 3), Err("file: `unet.r` is 4: A of `a.to_k` has 3 outputs".to_owned()));
        let stabilised = settings(json!({"unet.r": 4, "unet.lora_alpha": 8, "unet.use_rslora": true}));
        assert_eq!(stabilised.unwrap().alpha("a", 4).unwrap(), 16.0);
    }

    #[test]
    fn what_is_not_done_is_named() {
        let with = |key: &str, value: Value| {
            let mut keys = json!({"unet.r": 4, "unet.lora_alpha": 8});
            keys[key] = value;
            settings(keys)
        };
        for (key, value) in [
            ("unet.use_dora", json!(true)),
            ("unet.bias", json!("lora_only")),
            ("unet.peft_type", json!("LOHA")),
            ("unet.layer_replication", json!([[0, 4]])),
            ("unet.init_lora_weights", json!("pissa_niter_16")),
            ("unet.init_lora_weights", json!("loftq")),
            ("unet.lora_alpha", json!("much")),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(error.contains(key.trim_start_matches("unet.")), "{key}: {error}");
        }
        for kept in [json!(true), json!(false), json!("gaussian"), json!(null)] {
            assert!(with("unet.init_lora_weights", kept.clone()).is_ok(), "{kept}");
        }
        let pattern = with("unet.alpha_pattern", json!({".*to_q": 1})).unwrap();
        assert!(pattern.alpha("a", 4).unwrap_err().to_string().contains("`unet.alpha_pattern`"));
        assert!(settings(json!({"unet.r": 4})).unwrap_err().contains("lora_alpha"));
    }
}
