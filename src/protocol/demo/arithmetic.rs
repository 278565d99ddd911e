//! Finds a sum in a question and works it out: `+`, `-`, `*`, `/` and parentheses.

use super::number::Number;

/// Parentheses deeper than this are not followed, nor are longer sums: the text comes from a stranger.
const MOST_DEPTH: u32 = 32;
const MOST_OPERATIONS: usize = 24;

/// A sum that was found in a question.
#[derive(Clone, PartialEq, Debug)]
pub struct Sum {
    /// As it was understood, such as `2 + 3 * 4`.
    pub text: String,
    /// What was done, in order.
    pub operations: Vec<Operation>,
    /// `None` for a division by zero and for numbers that are too large.
    pub result: Option<Number>,
}

/// One operation of a sum.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Operation {
    pub left: Number,
    pub operator: char,
    pub right: Number,
    /// `None` for a division by zero and for numbers that are too large.
    pub result: Option<Number>,
}

impl Operation {
    /// Whether it divides by zero.
    pub const fn divides_by_zero(&self) -> bool {
        self.operator == '/' && self.right.is_zero()
    }
}

/// The first sum in a question; `None` where there is none, or where it looks like something else (a date, `24/7`).
pub fn find(question: &str) -> Option<Sum> {
    let plain = in_signs(question);
    let characters: Vec<char> = plain.chars().collect();
    let mut before = ' ';
    for at in 0..characters.len() {
        let starts = matches!(characters[at], '0'..='9' | '(' | '-') && !before.is_alphanumeric() && before != '.';
        before = characters[at];
        if !starts {
            continue;
        }
        let mut parser = Parser { characters: &characters, at, depth: 0, operations: Vec::new(), text: String::new() };
        if let Some(result) = parser.terms()
            && !parser.operations.is_empty()
            && is_meant(&plain, &parser)
        {
            let result = result.ok();
            return Some(Sum { text: parser.text, operations: parser.operations, result });
        }
    }
    None
}

/// The question with words and typographic signs for operators replaced by the plain signs.
fn in_signs(question: &str) -> String {
    let mut plain = question.to_lowercase();
    for (word, sign) in [
        (" plus ", " + "),
        (" minus ", " - "),
        (" times ", " * "),
        (" multiplied by ", " * "),
        (" divided by ", " / "),
        ("×", "*"),
        ("·", "*"),
        ("÷", "/"),
        ("−", "-"),
    ] {
        plain = plain.replace(word, sign);
    }
    plain
}

/// Dates, ranges and phrases such as `24/7` only have `-` and `/`: these count where the question asks for a result.
fn is_meant(plain: &str, parser: &Parser<'_>) -> bool {
    let asks = ["what is", "what's", "how much", "calculate", "compute", "evaluate", "solve", "="];
    let mostly = parser.text.len() * 2 >= plain.trim().len();
    parser.operations.iter().any(|operation| matches!(operation.operator, '+' | '*'))
        || mostly
        || asks.iter().any(|word| plain.contains(word))
}

/// A value, or that it cannot be computed.
type Value = Result<Number, ()>;

/// Reads as much as makes a sum; `None` from a method means that there is nothing of that kind here.
struct Parser<'a> {
    characters: &'a [char],
    at: usize,
    depth: u32,
    operations: Vec<Operation>,
    text: String,
}

impl Parser<'_> {
    fn terms(&mut self) -> Option<Value> {
        self.chain(&['+', '-'], Self::factors)
    }

    fn factors(&mut self) -> Option<Value> {
        self.chain(&['*', '/'], Self::factor)
    }

    /// Operands of one precedence, from left to right.
    fn chain(&mut self, operators: &[char], operand: fn(&mut Self) -> Option<Value>) -> Option<Value> {
        let mut left = operand(self)?;
        loop {
            let (at, written, done) = (self.at, self.text.len(), self.operations.len());
            let Some(operator) = self.take(operators).filter(|_| done < MOST_OPERATIONS) else {
                self.at = at;
                return Some(left);
            };
            self.text.push_str(&format!(" {operator} "));
            let Some(right) = operand(self) else {
                // "2 + 2 - please": the sum ends before the operator.
                (self.at, _) = (at, self.text.truncate(written));
                self.operations.truncate(done);
                return Some(left);
            };
            left = match (left, right) {
                (Ok(left), Ok(right)) => {
                    let result = left.apply(operator, right);
                    self.operations.push(Operation { left, operator, right, result });
                    result.ok_or(())
                }
                _ => Err(()),
            };
        }
    }

    fn factor(&mut self) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > MOST_DEPTH { None } else { self.bare_factor() };
        self.depth -= 1;
        value
    }

    fn bare_factor(&mut self) -> Option<Value> {
        if self.take(&['-']).is_some() {
            self.text.push('-');
            let value = self.factor()?;
            return Some(
                value.and_then(|number| Number::parse("0").and_then(|zero| zero.apply('-', number)).ok_or(())),
            );
        }
        if self.take(&['(']).is_some() {
            self.text.push('(');
            let value = self.terms()?;
            self.take(&[')'])?;
            self.text.push(')');
            return Some(value);
        }
        self.number()
    }

    fn number(&mut self) -> Option<Value> {
        self.skip_space();
        let start = self.at;
        while let Some(character) = self.characters.get(self.at) {
            let digit_follows = self.characters.get(self.at + 1).is_some_and(char::is_ascii_digit);
            let belongs = character.is_ascii_digit() || (matches!(character, '.' | ',') && digit_follows);
            if !belongs {
                break;
            }
            self.at += 1;
        }
        let digits: String = self.characters[start..self.at].iter().collect();
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        self.text.push_str(&digits);
        Some(Number::parse(&digits).ok_or(()))
    }

    fn take(&mut self, any_of: &[char]) -> Option<char> {
        self.skip_space();
        let found = self.characters.get(self.at).copied().filter(|character| any_of.contains(character))?;
        self.at += 1;
        Some(found)
    }

    fn skip_space(&mut self) {
        while self.characters.get(self.at).is_some_and(|character| character.is_whitespace()) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn result(question: &str) -> Option<String> {
        find(question).map(|sum| sum.result.map_or("none".into(), |number| number.to_string()))
    }

    #[test]
    fn sums_are_found_and_worked_out() {
        let rows = [
            ("What is 2+2?", "4"),
            ("what is 2 + 3 * 4, please", "14"),
            ("(2 + 3) * 4 = ?", "20"),
            ("10 / 4", "2.5"),
            ("What is 7 minus 10?", "-3"),
            ("Tell me what six is, then 6 times 7.", "42"),
            ("12 × 12", "144"),
            ("-3 + 5", "2"),
            ("2 * -3", "-6"),
            ("1,200 + 34.5", "1234.5"),
            ("10 - 2 - 3", "5"),
            ("2 + 2 - oh well", "4"),
            ("8 / (2 - 2) + 1", "none"),
        ];
        for (question, expected) in rows {
            assert_eq!(result(question).as_deref(), Some(expected), "{question}");
        }
    }

    #[test]
    fn other_numbers_are_no_sums() {
        for question in [
            "",
            "Hello!",
            "Is the shop open 24/7 all year round?",
            "We met on 2024-01-15, didn't we, in Rome?",
            "GPT-4 or 5",
            "2 +",
        ] {
            assert_eq!(result(question), None, "{question}");
        }
    }

    #[test]
    fn deep_and_long_sums_do_no_harm() {
        find(&"(".repeat(5000));
        find(&"-".repeat(5000));
        find(&format!("1{}", " + 1".repeat(5000)));
        assert_eq!(find(&format!("1{}", " + 1".repeat(500))).unwrap().operations.len(), MOST_OPERATIONS);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[-0-9+*/(). a-zé]{0,60}") {
            let _ = result(&text);
        }

        #[test]
        fn agrees_with_plain_arithmetic(a in -999i128..999, b in 0i128..999, c in 1i128..99) {
            let sum = find(&format!("{a} + {b} * {c}")).unwrap();
            prop_assert_eq!(sum.result.unwrap(), Number::whole(a + b * c));
        }
    }
}
