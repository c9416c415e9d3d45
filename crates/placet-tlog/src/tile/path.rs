//! Paths of a log's resources below its prefix (C2SP tlog-tiles, "APIs").

use std::fmt;
use std::str::FromStr;

use crate::text::parse_decimal;
use crate::tile::{BundleId, MAX_LEVEL, TileId, Width};

/// Longer than any path this module writes.
const MAX_PATH_BYTES: usize = 64;

/// A resource that a tiled log serves, named by its path without a leading slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `checkpoint`: the latest signed tree head; the only one that changes.
    Checkpoint,
    /// `tile/<L>/<N>[.p/<W>]`.
    Tile(TileId),
    /// `tile/entries/<N>[.p/<W>]`.
    Entries(BundleId),
}

/// Why a path names no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither `checkpoint` nor under `tile/`.
    #[error("the path is neither `checkpoint` nor under `tile/`")]
    UnknownResource,
    /// The level is not a decimal of 0 to 63 without leading zeroes.
    #[error("a tile level is a decimal of 0 to {MAX_LEVEL} without leading zeroes")]
    Level,
    /// The index is not in groups of three digits, all but the last after an `x`.
    #[error("a tile index is written in groups of three digits, all but the last after an `x`")]
    Index,
    /// The width is not a decimal of 1 to 255 without leading zeroes.
    #[error("the width of a partial tile is a decimal of 1 to 255 without leading zeroes")]
    Width,
}

impl Resource {
    /// Reads a path. Each resource has exactly one.
    ///
    /// # Errors
    ///
    /// [`PathError`] names the first part that is wrong.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        let rest = path
            .strip_prefix("tile/")
            .filter(|_| path.len() <= MAX_PATH_BYTES);
        let (kind, place) = rest
            .and_then(|r| r.split_once('/'))
            .ok_or(PathError::UnknownResource)?;
        if kind == "entries" {
            let (index, width) = parse_place(place)?;
            return Ok(Self::Entries(BundleId::new(index, width)));
        }
        let level = parse_decimal(kind).and_then(|level| u8::try_from(level).ok());
        let level = level
            .filter(|level| *level <= MAX_LEVEL)
            .ok_or(PathError::Level)?;
        let (index, width) = parse_place(place)?;
        TileId::new(level, index, width)
            .map(Self::Tile)
            .ok_or(PathError::Level)
    }
}

impl FromStr for Resource {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        Self::parse(path)
    }
}

impl From<TileId> for Resource {
    fn from(tile: TileId) -> Self {
        Self::Tile(tile)
    }
}

impl From<BundleId> for Resource {
    fn from(bundle: BundleId) -> Self {
        Self::Entries(bundle)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Tile(tile) => tile.fmt(f),
            Self::Entries(bundle) => bundle.fmt(f),
        }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_place(f, self.index, self.width)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_place(f, self.index, self.width)
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, index: u64, width: Width) -> fmt::Result {
    write_index(f, index)?;
    if width.is_full() {
        Ok(())
    } else {
        write!(f, ".p/{}", width.get())
    }
}

fn write_index(f: &mut impl fmt::Write, index: u64) -> fmt::Result {
    // 1000^6 is the largest power of 1000 in 64 bits.
    for group in (1..=6).rev() {
        let above = index / 1000_u64.pow(group);
        if above > 0 {
            write!(f, "x{:03}/", above % 1000)?;
        }
    }
    write!(f, "{:03}", index % 1000)
}

fn parse_place(text: &str) -> Result<(u64, Width), PathError> {
    let (index, width) = match text.split_once(".p/") {
        Some((index, width)) => (index, parse_partial_width(width).ok_or(PathError::Width)?),
        None => (text, Width::FULL),
    };
    Ok((parse_index(index).ok_or(PathError::Index)?, width))
}

fn parse_partial_width(text: &str) -> Option<Width> {
    let width = Width::new(u16::try_from(parse_decimal(text)?).ok()?)?;
    if width.is_full() { None } else { Some(width) }
}

/// Takes the digits, then insists that the index is written the way this module writes it.
fn parse_index(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(|c| !matches!(c, 'x' | '/')).collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let index = digits.parse().ok()?;
    let mut canonical = String::new();
    write_index(&mut canonical, index).ok()?;
    (canonical == text).then_some(index)
}
