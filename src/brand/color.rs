//! The colour of the brand, and whether text in it and on it can be read (WCAG 2.2, success criterion 1.4.3).
//!
//! The colour is used on white, and white text is used on it. Both have the same contrast.

use std::fmt;

/// The smallest contrast of text that everybody can read, by level AA of WCAG.
const ENOUGH: f64 = 4.5;
/// The steps in which a colour is made darker, to find one that has enough contrast.
const STEPS: u32 = 255;

/// An opaque sRGB colour. Each channel has a value from 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    red: u8,
    green: u8,
    blue: u8,
}

impl Color {
    /// The colour of text on the colour of a brand.
    pub const WHITE: Color = Color {
        red: 255,
        green: 255,
        blue: 255,
    };

    /// Parses a colour such as `#0b5cad`.
    ///
    /// # Errors
    /// What is expected, as the end of a sentence that begins with the name of the field.
    pub fn parse(text: &str) -> Result<Color, String> {
        let expected = || "must be # and six hexadecimal digits, such as #0b5cad".to_owned();
        let digits = text.strip_prefix('#').ok_or_else(expected)?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(expected());
        }
        let number = u32::from_str_radix(digits, 16).map_err(|_| expected())?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Color { red, green, blue })
    }

    /// The relative luminance, from 0 for black to 1 for white.
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.040_45 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }

    /// Returns the contrast of two colours, from 1 for equal ones to 21 for black and white.
    pub fn contrast(self, other: Color) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// Returns whether text in this colour on white, and white text on this colour, can be read.
    fn is_readable(self) -> bool {
        self.contrast(Color::WHITE) >= ENOUGH
    }

    /// Returns the same colour, darker by as little as is needed so that it can be read.
    fn darkened(self) -> Color {
        let at = |step: u32| {
            let channel = |value: u8| (u32::from(value) * step / STEPS) as u8;
            Color {
                red: channel(self.red),
                green: channel(self.green),
                blue: channel(self.blue),
            }
        };
        let mut steps = (0..=STEPS).rev().map(at);
        // Black, the last step, can be read.
        steps.find(|color| color.is_readable()).unwrap_or(at(0))
    }

    /// Checks that the colour can be used for text, and under text.
    ///
    /// # Errors
    /// The contrast and the nearest colour that can be used, as the end of a sentence that begins with the name of the field.
    pub fn check_readable(self) -> Result<(), String> {
        if self.is_readable() {
            return Ok(());
        }
        // The ratio is rounded down, so that one that is too small never looks large enough.
        let ratio = (self.contrast(Color::WHITE) * 100.0).floor() / 100.0;
        Err(format!(
            "has a contrast of {ratio:.2}:1 with white; at least {ENOUGH}:1 is needed, for text in this color and for white text \
             on it. The nearest color that is dark enough is {}",
            self.darkened()
        ))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

/// Returns the style of the public pages with a colour.
pub fn style_sheet(color: Color) -> String {
    format!(
        ".top {{ border-top: 4px solid {color}; }}\nmain button:not(.quiet-button, .plain-button), main a.button {{ background: {color}; \
         border-color: {color}; color: {white}; }}\n",
        white = Color::WHITE,
    )
}

/// Returns the path of the style with a colour.
pub(super) fn style(color: Color) -> String {
    format!("/brand/color/{}.css", color.to_string().trim_start_matches('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color(text: &str) -> Color {
        Color::parse(text).unwrap()
    }

    #[test]
    fn the_contrast_is_that_of_wcag() {
        assert!((color("#000000").contrast(Color::WHITE) - 21.0).abs() < 1e-9);
        assert!((color("#ffffff").contrast(Color::WHITE) - 1.0).abs() < 1e-9);
        // The two greys on both sides of the limit.
        assert!(color("#767676").is_readable());
        assert!(!color("#777777").is_readable());
    }

    #[test]
    fn the_nearest_color_is_just_dark_enough() {
        for (light, dark) in [
            ("#777777", "#767676"),
            ("#ffffff", "#767676"),
            ("#0b5cad", "#0b5cad"),
        ] {
            assert_eq!(color(light).darkened().to_string(), dark);
        }
        for light in ["#ff8800", "#ffee00", "#00ccff", "#ff66cc"] {
            assert!(color(light).darkened().is_readable(), "{light}");
        }
        let why = color("#ff8800").check_readable().unwrap_err();
        assert!(why.starts_with("has a contrast of 2."), "{why}");
    }

    #[test]
    fn only_six_digits_are_a_color() {
        for wrong in [
            "", "#", "red", "0b5cad", "#0b5ca", "#0b5cad0", "#0b5caé", "#+b5cad", "#0B5CAD;",
        ] {
            assert!(Color::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(color("#0B5CAD").to_string(), "#0b5cad");
    }
}
