//! Checks the image of a logo: its kind, its structure and its size. This module does no I/O.

use flate2::Crc;

use super::svg;
use crate::base::enums::word_enum;

/// The largest size of an image, in bytes.
pub const MAX_SIZE: usize = 256 * 1024;
/// The smallest and the largest width and height, in pixels.
const SIDE: std::ops::RangeInclusive<u32> = 16..=2048;

word_enum! {
    /// The kind of an image.
    Media, "a kind of image" {
        /// A PNG, which pages and emails show.
        Png = "png",
        /// An SVG, which pages show. Most email programs do not.
        Svg = "svg",
    }
}

impl Media {
    /// Returns the media type, for the header `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Media::Png => "image/png",
            Media::Svg => "image/svg+xml",
        }
    }
}

/// An image that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The kind of the image, which its content decides.
    pub media: Media,
    /// The width, in pixels.
    pub width: u32,
    /// The height, in pixels.
    pub height: u32,
    /// The content of the file, unchanged, of at most 256 KiB.
    pub bytes: Vec<u8>,
}

impl Image {
    /// Checks a file. Its content decides about its kind.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the file.
    pub fn parse(bytes: Vec<u8>) -> Result<Image, String> {
        if bytes.is_empty() {
            return Err("is empty".to_owned());
        }
        if bytes.len() > MAX_SIZE {
            return Err(format!("is larger than {} KiB", MAX_SIZE / 1024));
        }
        let (media, (width, height)) = if bytes.starts_with(PNG) {
            (Media::Png, png(&bytes)?)
        } else {
            match std::str::from_utf8(&bytes) {
                Ok(text) if text.trim_start_matches('\u{feff}').trim_start().starts_with('<') => {
                    (Media::Svg, svg::check(text)?)
                }
                _ => return Err("is neither a PNG nor an SVG".to_owned()),
            }
        };
        if !SIDE.contains(&width) || !SIDE.contains(&height) {
            return Err(format!(
                "is {width} by {height} pixels large; each side must have {} to {} pixels",
                SIDE.start(),
                SIDE.end()
            ));
        }
        Ok(Image {
            media,
            width,
            height,
            bytes,
        })
    }
}

/// The signature at the beginning of a PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Reads the chunks of a PNG up to its end, and returns its width and height.
fn png(bytes: &[u8]) -> Result<(u32, u32), String> {
    let broken = |what: &str| format!("is not a valid PNG: {what}");
    let mut rest = bytes.get(PNG.len()..).unwrap_or_default();
    let (mut size, mut has_data) = (None, false);
    loop {
        let (head, behind) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| broken("it has no end"))?;
        let [a, b, c, d, kind @ ..] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let (data, behind) = behind
            .split_at_checked(length)
            .ok_or_else(|| broken("a part of it is missing"))?;
        let (sum, behind) = behind
            .split_first_chunk::<4>()
            .ok_or_else(|| broken("a part of it is missing"))?;
        let mut crc = Crc::new();
        crc.update(&kind);
        crc.update(data);
        if crc.sum() != u32::from_be_bytes(*sum) {
            return Err(broken("a check sum does not match"));
        }
        match (&kind, size) {
            (b"IHDR", None) => size = Some(header(data).ok_or_else(|| broken("its header cannot be read"))?),
            (b"IHDR", Some(_)) => return Err(broken("it has two headers")),
            (_, None) => return Err(broken("it does not begin with its header")),
            (b"acTL", _) => return Err("is animated; use an image that does not move".to_owned()),
            (b"IDAT", _) => has_data = true,
            (b"IEND", Some(size)) => {
                // What follows the end could be another file, which a program may find there.
                return match (has_data, behind.is_empty()) {
                    (true, true) => Ok(size),
                    (false, _) => Err(broken("it has no pixels")),
                    (true, false) => Err(broken("something follows its end")),
                };
            }
            _ => {}
        }
        rest = behind;
    }
}

/// Returns the width and the height of a header.
fn header(data: &[u8]) -> Option<(u32, u32)> {
    if data.len() != 13 {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(*data.get(at..)?.first_chunk::<4>()?));
    Some((number(0)?, number(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(data);
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
    }

    fn of_size(width: u32, height: u32) -> Vec<u8> {
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        [
            PNG.to_vec(),
            chunk(b"IHDR", &header),
            chunk(b"IDAT", b"x"),
            chunk(b"IEND", b""),
        ]
        .concat()
    }

    #[test]
    fn a_png_is_read_to_its_end() {
        let image = Image::parse(of_size(120, 40)).unwrap();
        assert_eq!((image.media, image.width, image.height), (Media::Png, 120, 40));
        let whole = of_size(120, 40);
        for end in 0..whole.len() {
            assert!(Image::parse(whole[..end].to_vec()).is_err(), "{end}");
        }
        for at in PNG.len()..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(Image::parse(damaged).is_err(), "{at}");
        }
        assert!(Image::parse([whole, b"<script>".to_vec()].concat()).is_err());
    }

    #[test]
    fn sizes_have_limits() {
        for (width, height) in [(15, 40), (40, 15), (2049, 40), (0, 40), (u32::MAX, 40)] {
            assert!(Image::parse(of_size(width, height)).is_err(), "{width} {height}");
        }
        assert!(
            Image::parse(vec![0; MAX_SIZE + 1])
                .unwrap_err()
                .contains("256 KiB")
        );
        assert!(Image::parse(b"GIF89a".to_vec()).unwrap_err().contains("neither"));
    }
}
