//! Exact fractions, so that 0.1 + 0.2 is 0.3.

use std::fmt;

/// A fraction in lowest terms; the lower part is above zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number {
    upper: i128,
    lower: i128,
}

/// Decimals are written out up to this many places.
const MOST_PLACES: u32 = 9;

impl Number {
    /// A whole number.
    #[cfg(test)]
    pub const fn whole(number: i128) -> Self {
        Number { upper: number, lower: 1 }
    }

    /// `None` where `lower` is zero or the number is too large.
    fn new(upper: i128, lower: i128) -> Option<Self> {
        if lower == 0 {
            return None;
        }
        let divisor = common_divisor(upper.unsigned_abs(), lower.unsigned_abs());
        let divisor = i128::try_from(divisor).ok()?.checked_mul(lower.signum())?;
        Some(Number { upper: upper.checked_div(divisor)?, lower: lower.checked_div(divisor)? })
    }

    /// A number as people write it: `12`, `3.50`, `1,000`. `None` where it is too large.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut upper, mut lower, mut behind_point) = (0i128, 1i128, false);
        for character in text.chars() {
            match character {
                '.' => behind_point = true,
                ',' => {}
                digit => {
                    upper = upper.checked_mul(10)?.checked_add(i128::from(digit.to_digit(10)?))?;
                    lower = if behind_point { lower.checked_mul(10)? } else { lower };
                }
            }
        }
        Self::new(upper, lower)
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.upper == 0
    }

    /// The result of `+`, `-`, `*` or `/`; `None` where it is too large, for a division by zero, and for other signs.
    pub fn apply(self, operator: char, other: Self) -> Option<Self> {
        let cross = |a: i128, b: i128| a.checked_mul(b);
        match operator {
            '+' | '-' => {
                let (left, right) = (cross(self.upper, other.lower)?, cross(other.upper, self.lower)?);
                let upper = if operator == '+' { left.checked_add(right)? } else { left.checked_sub(right)? };
                Self::new(upper, cross(self.lower, other.lower)?)
            }
            '*' => Self::new(cross(self.upper, other.upper)?, cross(self.lower, other.lower)?),
            '/' => Self::new(cross(self.upper, other.lower)?, cross(self.lower, other.upper)?),
            _ => None,
        }
    }

    /// The places behind the point, where that many are enough to write the number exactly.
    fn places(self) -> Option<u32> {
        (0..=MOST_PLACES).find(|places| 10i128.pow(*places) % self.lower == 0)
    }

    /// Whether its decimal form is exact.
    pub fn is_exact(self) -> bool {
        self.places().is_some()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places().unwrap_or(6);
        let (sign, upper) = (if self.upper < 0 { "-" } else { "" }, self.upper.unsigned_abs());
        let lower = self.lower.unsigned_abs();
        let (mut whole, rest) = (upper / lower, upper % lower);
        if places == 0 {
            return write!(f, "{sign}{whole}");
        }
        let scale = 10u128.pow(places);
        // A lower part so large that this would overflow has no digits worth showing.
        let mut decimals = rest.checked_mul(scale * 2).map_or(0, |twice| (twice / lower).div_ceil(2));
        if decimals >= scale {
            (whole, decimals) = (whole + 1, 0);
        }
        write!(f, "{sign}{whole}.{decimals:0width$}", width = places as usize)
    }
}

const fn common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if a == 0 { 1 } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(left: &str, operator: char, right: &str) -> String {
        let (left, right) = (Number::parse(left).unwrap(), Number::parse(right).unwrap());
        left.apply(operator, right).map_or("none".into(), |number| number.to_string())
    }

    #[test]
    fn results_are_exact_where_they_can_be() {
        assert_eq!(result("0.1", '+', "0.2"), "0.3");
        assert_eq!(result("1", '/', "8"), "0.125");
        assert_eq!(result("1", '/', "3"), "0.333333");
        assert_eq!(result("2", '/', "3"), "0.666667");
        assert_eq!(result("3", '-', "10.5"), "-7.5");
        assert_eq!(result("1,000", '*', "1,000"), "1000000");
        assert_eq!(result("2999999.9999999", '/', "3"), "1000000.000000");
    }

    #[test]
    fn what_cannot_be_computed_is_none() {
        assert_eq!(result("1", '/', "0"), "none");
        let huge = "9".repeat(38);
        assert_eq!(result(&huge, '*', &huge), "none");
        assert!(Number::parse(&"9".repeat(40)).is_none());
        assert!(Number::new(i128::MIN, -1).is_none());
        assert_eq!(Number::whole(-4).to_string(), "-4");
    }
}
