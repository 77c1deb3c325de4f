//! The methods that a person names on the command line.

use crate::arguments::AttributeMethod;
use crate::error::ProgramError;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use pentimento_run::gradients::QuerySet;
use pentimento_run::recipe::Origin;
use pentimento_run::scores::usual_method;
use pentimento_run::{Networks, Workspace};
use std::path::PathBuf;

/// What a person asks by.
pub(super) struct Asked {
    /// The methods that were named, each once, family by family.
    methods: Vec<Method>,
    /// The file of a classifier.
    pub classifier: Option<PathBuf>,
}

impl Asked {
    pub fn of(named: &[AttributeMethod], classifier: Option<PathBuf>) -> Result<Self, ProgramError> {
        let mut methods: Vec<Method> = Vec::new();
        for &AttributeMethod(method) in named {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods.sort_by_key(|method| method.family.place());
        let needs_classifier = |method: &Method| method.family == Family::Likeness(Likeness::Classifier);
        match &classifier {
            Some(file) if !methods.iter().any(needs_classifier) => {
                Err(ProgramError::UnusedClassifier { file: file.clone() })
            }
            _ => Ok(Self { methods, classifier }),
        }
    }

    /// Those that rank codes.
    pub fn codes(&self) -> impl Iterator<Item = Method> {
        self.methods.iter().copied().filter(|method| matches!(method.family, Family::Codes(_)))
    }

    /// Those that write a table of scores.
    pub fn tables(&self) -> Vec<Method> {
        self.methods.iter().copied().filter(Method::writes_table).collect()
    }

    /// Those that write a table, or the usual one for these networks if no method was named.
    pub fn tables_or_usual(&self, workspace: &Workspace, networks: &Networks<'_>) -> Vec<Method> {
        if !self.methods.is_empty() {
            return self.tables();
        }
        vec![usual_method(&workspace.recipe, networks.architecture.parameter_count())]
    }

    /// Whether no method was named.
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// Refuses methods that rank codes, where there are none or they cannot be asked.
    pub fn check_codes(&self, origin: &Origin, set: &QuerySet) -> Result<(), ProgramError> {
        match origin {
            Origin::Imported(_) | Origin::Bank(_) => {
                let names: Vec<String> =
                    Method::names_of_tables().iter().map(|name| format!("`{name}`")).collect();
                self.refuse_codes(&format!(
                    "it needs an ensemble that was trained with codes; an imported network has {}",
                    names.join(", ")
                ))
            }
            Origin::Trained(_) if *set != QuerySet::Samples => {
                self.refuse_codes("it is for samples of the run")
            }
            Origin::Trained(_) => Ok(()),
        }
    }

    /// Refuses methods that rank codes.
    pub fn refuse_codes(&self, why: &str) -> Result<(), ProgramError> {
        match self.codes().next() {
            Some(method) => Err(ProgramError::NotByCodes { method: method.name.into(), why: why.into() }),
            None => Ok(()),
        }
    }
}
