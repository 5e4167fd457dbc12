//! Numbers as people read them, and the nouns that they count.

/// Returns a number with commas between groups of three digits: `1,234,567`.
pub fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if n < 0 {
        text.push('\u{2212}');
    }
    text.push_str(&grouped_digits(&digits));
    text
}

/// Returns digits with commas between groups of three.
pub fn grouped_digits(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun: `1 person`, `1,259 people`. The number is any integer.
pub fn counted<N: TryInto<i64>>(n: N, one: &str, many: &str) -> String {
    let n = n.try_into().unwrap_or(i64::MAX);
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (-1_234, "\u{2212}1,234"),
        ] {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(counted(1_usize, "person", "people"), "1 person");
        assert_eq!(counted(1_259_i64, "person", "people"), "1,259 people");
        assert_eq!(counted(0_u64, "alert", "alerts"), "0 alerts");
    }
}
