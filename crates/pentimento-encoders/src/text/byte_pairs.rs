//! Byte-pair encoding (Sennrich et al. 2016) of the bytes of a word, as CLIP has it: the last byte of a word is marked.

use std::collections::{BTreeSet, HashMap};

/// What the last letter of a word carries.
const END_OF_WORD: &str = "</w>";

/// The merges of a vocabulary, by the numbers of its tokens.
#[derive(Clone, Debug)]
pub(super) struct BytePairs {
    /// The token of each byte inside of a word.
    letters: Vec<u32>,
    /// The token of each byte at the end of a word.
    last_letters: Vec<u32>,
    /// Of two neighbours their rank and what they become.
    merges: HashMap<(u32, u32), (usize, u32)>,
}

impl BytePairs {
    /// Takes merges in the order of their rank. `others` are tokens that no merge makes, such as that of a prompt's end.
    ///
    /// # Errors
    ///
    /// What is wrong, in words: a token that is not in the vocabulary, or one that nothing makes.
    pub(super) fn new(
        vocabulary: &HashMap<String, u32>,
        merges: &[(String, String)],
        others: &BTreeSet<&str>,
    ) -> Result<Self, String> {
        let number = |token: &str| {
            vocabulary.get(token).copied().ok_or_else(|| format!("token `{token}` is not in the vocabulary"))
        };
        let letters_of = |end: &str| {
            (0..=u8::MAX).map(|byte| number(&format!("{}{end}", letter(byte)))).collect::<Result<Vec<_>, _>>()
        };
        let (letters, last_letters) = (letters_of("")?, letters_of(END_OF_WORD)?);
        let mut made: BTreeSet<u32> = letters.iter().chain(&last_letters).copied().collect();
        let mut by_pair = HashMap::with_capacity(merges.len());
        for (rank, (left, right)) in merges.iter().enumerate() {
            let becomes = number(&format!("{left}{right}"))
                .map_err(|problem| format!("merge {rank} of `{left}` and `{right}`: {problem}"))?;
            by_pair.entry((number(left)?, number(right)?)).or_insert((rank, becomes));
            made.insert(becomes);
        }
        let is_unmade =
            |(token, number): &(&String, &u32)| !made.contains(number) && !others.contains(token.as_str());
        let unmade = vocabulary.iter().filter(is_unmade);
        if let Some((token, number)) = unmade.clone().min_by_key(|(_, number)| **number) {
            return Err(format!(
                "no merge makes {} tokens of the vocabulary, the first of them `{token}`, number {number}: are the merges cut \
                 short?",
                unmade.count()
            ));
        }
        Ok(Self { letters, last_letters, merges: by_pair })
    }

    /// Adds the tokens of a word.
    pub(super) fn encode(&self, word: &str, ids: &mut Vec<u32>) {
        let Some((&last, others)) = word.as_bytes().split_last() else { return };
        let mut parts: Vec<u32> = others.iter().map(|byte| self.letters[usize::from(*byte)]).collect();
        parts.push(self.last_letters[usize::from(last)]);
        let merge_of = |pair: &[u32]| match pair {
            &[left, right] => self.merges.get(&(left, right)).copied(),
            _ => None,
        };
        while let Some(merge) = parts.windows(2).filter_map(merge_of).min() {
            let mut merged = Vec::with_capacity(parts.len());
            let mut rest = parts.as_slice();
            while let Some(&part) = rest.first() {
                let pair = rest.get(..2).filter(|pair| merge_of(pair) == Some(merge));
                merged.push(if pair.is_some() { merge.1 } else { part });
                rest = &rest[if pair.is_some() { 2 } else { 1 }..];
            }
            parts = merged;
        }
        ids.extend(parts);
    }
}

/// The letter that stands for a byte, as GPT-2 has it: itself if it can be shown, and otherwise the next letter from U+0100 on.
fn letter(byte: u8) -> char {
    let is_shown = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_shown(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&byte| !is_shown(byte)).count() as u32;
    char::from_u32(0x100 + before).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of all bytes and what these merges make.
    fn vocabulary(merges: &[(&str, &str)]) -> (HashMap<String, u32>, Vec<(String, String)>) {
        let letters = (0..=u8::MAX).map(|byte| letter(byte).to_string());
        let last = (0..=u8::MAX).map(|byte| format!("{}</w>", letter(byte)));
        let made = merges.iter().map(|(left, right)| format!("{left}{right}"));
        let tokens = letters.chain(last).chain(made);
        let vocabulary = tokens.enumerate().map(|(number, token)| (token, number as u32)).collect();
        (vocabulary, merges.iter().map(|(left, right)| (left.to_string(), right.to_string())).collect())
    }

    #[test]
    fn the_letters_of_bytes() {
        // From the table of GPT-2.
        let expected = [
            (0, 'Ā'),
            (b' ', 'Ġ'),
            (b'!', '!'),
            (b'~', '~'),
            (0x7f, 'ġ'),
            (0xa0, 'ł'),
            (0xad, 'Ń'),
            (0xff, 'ÿ'),
        ];
        for (byte, expected) in expected {
            assert_eq!(letter(byte), expected, "byte {byte}");
        }
    }

    #[test]
    fn merges_go_by_rank_and_from_the_left() {
        let (vocabulary, merges) = vocabulary(&[("b", "c"), ("a", "a"), ("a", "b"), ("aa", "a</w>")]);
        let pairs = BytePairs::new(&vocabulary, &merges, &BTreeSet::new()).unwrap();
        let tokens = |word: &str| {
            let mut ids = Vec::new();
            pairs.encode(word, &mut ids);
            let name = |id: &u32| vocabulary.iter().find(|(_, number)| *number == id).unwrap().0.clone();
            ids.iter().map(name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(tokens("abcd"), "a bc d</w>");
        assert_eq!(tokens("aaa"), "aaa</w>");
        assert_eq!(tokens("aaaaa"), "aa aaa</w>");
        assert_eq!(tokens("abab"), "ab a b</w>");
        assert_eq!(tokens(""), "");
    }

    #[test]
    fn tokens_that_nothing_makes_are_named() {
        let (vocabulary, merges) = vocabulary(&[("a", "b"), ("ab", "c"), ("c", "d")]);
        let said = BytePairs::new(&vocabulary, &merges[..1], &BTreeSet::from(["cd"])).unwrap_err();
        assert!(said.contains("makes 1 tokens") && said.contains("`abc`"), "{said}");
        assert!(BytePairs::new(&vocabulary, &merges[..1], &BTreeSet::from(["cd", "abc"])).is_ok());
        let unknown = [("x".to_string(), "y".to_string())];
        let said = BytePairs::new(&vocabulary, &unknown, &BTreeSet::new()).unwrap_err();
        assert_eq!(said, "merge 0 of `x` and `y`: token `xy` is not in the vocabulary");
    }
}
