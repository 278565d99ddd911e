//! The texts of the model `long`: true things about numbers, worked out here, for as long as it takes.

use std::fmt::Write as _;

const LAST: u32 = 100;

/// The thinking: plans the tour by tens.
pub fn thoughts() -> String {
    let mut text = format!(
        "A long answer needs a plan. I shall walk from 1 to {LAST} and say something true about every number, so that \
         nobody has to believe me: each line can be checked.\n\n"
    );
    for first in (1..=LAST).step_by(10) {
        let last = first + 9;
        let primes: Vec<String> = (first..=last).filter(|n| is_prime(*n)).map(|n| n.to_string()).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "Between {first} and {last} the primes are {}. The ten numbers add up to {}, so I can tell at the end of \
             the stretch whether I lost one.",
            primes.join(", "),
            (first..=last).sum::<u32>(),
        );
    }
    text.push_str("\nThat is enough of a plan. Off we go.\n");
    text
}

/// The answer: a section for each number.
pub fn answer() -> String {
    let mut text = format!("# A walk from 1 to {LAST}\n\n");
    for number in 1..=LAST {
        let _ = writeln!(text, "## {number}\n\n{}\n", section(number));
    }
    let _ = writeln!(text, "---\n\nThat were {LAST} numbers, which add up to {}.", (1..=LAST).sum::<u32>());
    text
}

fn section(number: u32) -> String {
    let parity = if number.is_multiple_of(2) { "even" } else { "odd" };
    let factors = match factors(number).as_slice() {
        [] => "It is the unit: every number is a multiple of it.".to_owned(),
        [_] => "It is a prime, so only 1 and the number itself divide it.".to_owned(),
        several => {
            let several: Vec<String> = several.iter().map(u32::to_string).collect();
            format!("Its prime factors are {}.", several.join(" × "))
        }
    };
    let root = number.isqrt();
    let square = if root * root == number {
        format!("It is the square of {root}, and its own square is {}.", number * number)
    } else {
        format!("Its square is {}, and it lies between the squares of {root} and {}.", number * number, root + 1)
    };
    format!(
        "The number {number} is {parity}. {factors} {square} In binary it is `{number:b}`, and the numbers from 1 up to \
         it add up to {}.",
        number * (number + 1) / 2
    )
}

fn is_prime(number: u32) -> bool {
    factors(number).len() == 1
}

/// Prime factors in rising order; none for 1.
fn factors(mut number: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut candidate = 2;
    while candidate * candidate <= number {
        while number.is_multiple_of(candidate) {
            found.push(candidate);
            number /= candidate;
        }
        candidate += 1;
    }
    if number > 1 {
        found.push(number);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_true() {
        assert_eq!(factors(84), [2, 2, 3, 7]);
        assert_eq!((1..=20).filter(|n| is_prime(*n)).collect::<Vec<_>>(), [2, 3, 5, 7, 11, 13, 17, 19]);
        assert!(section(12).contains("even. Its prime factors are 2 × 2 × 3. Its square is 144"));
        assert!(section(12).contains("`1100`") && section(12).contains("add up to 78"));
        assert!(section(49).contains("the square of 7"));
        assert!(thoughts().contains("11 and 20 the primes are 11, 13, 17, 19. The ten numbers add up to 155"));
    }
}
