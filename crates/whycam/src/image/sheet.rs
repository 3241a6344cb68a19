//! Contact sheets: pictures side by side, each with its caption.

use ::image::imageops;
use ::image::{Rgb, RgbImage};

use super::load::check_size;
use super::text::{self, Type};
use super::{Filter, ImageError, Placement, resample_rgb};

/// One picture of a contact sheet and what is written below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// The picture, of any size; the sheet shows it with its longer side at 360 pixels.
    pub picture: RgbImage,
    /// Lines of plain text, usually one to three: the first, in black, says what the picture is. A line too
    /// long for the panel ends in an ellipsis.
    pub caption: Vec<String>,
    /// A line that must not be overlooked, such as "blank map"; shown on amber.
    pub warning: Option<String>,
}

/// Longer side of a picture on the sheet.
const SIDE: u32 = 360;
/// Least width of a panel, so that captions of upright pictures have room.
const LEAST_WIDTH: u32 = 270;
/// White around the sheet, between columns and between rows.
const MARGIN: u32 = 24;
const COLUMN_GUTTER: u32 = 20;
const ROW_GUTTER: u32 = 28;
/// From the picture to its caption.
const GAP: u32 = 8;
const WARNING_HEIGHT: u32 = 24;
const WARNING_PADDING: f32 = 8.0;

const TITLE: Type = Type { size: 15.0, colour: [17, 24, 39] };
const NOTE: Type = Type { size: 13.0, colour: [75, 85, 99] };
const WARNING: Type = Type { size: 13.0, colour: [146, 64, 14] };
const WARNING_PAPER: Rgb<u8> = Rgb([254, 243, 199]);
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);

/// Lays panels out in rows on white paper. Without `columns`, up to four panels make one row and more make
/// rows of three or four, whichever leaves fewer gaps.
///
/// # Errors
/// [`ImageError::NoPanels`]; [`ImageError::Empty`] or [`ImageError::TooLarge`] for a panel's picture without
/// pixels or a sheet beyond the limits of [`super::Photo`].
pub fn sheet(panels: &[Panel], columns: Option<usize>) -> Result<RgbImage, ImageError> {
    if panels.is_empty() {
        return Err(ImageError::NoPanels);
    }
    let columns = columns.unwrap_or_else(|| good_columns(panels.len())).clamp(1, panels.len());
    let cells: Vec<Cell<'_>> = panels.iter().map(Cell::new).collect::<Result<_, _>>()?;
    let cell_width = cells.iter().map(|cell| cell.width).max().unwrap_or(0).max(LEAST_WIDTH);
    let rows: Vec<&[Cell<'_>]> = cells.chunks(columns).collect();

    let width = lined_up(vec![cell_width.into(); columns], COLUMN_GUTTER);
    let height = lined_up(rows.iter().map(|row| row_height(row).into()).collect(), ROW_GUTTER);
    check_size(width, height)?;
    let mut page = RgbImage::from_pixel(width as u32, height as u32, PAPER);
    let mut y = MARGIN;
    for row in rows {
        let picture_height = picture_height(row);
        let mut x = MARGIN;
        for cell in row {
            cell.draw(&mut page, x, y, cell_width, picture_height)?;
            x += cell_width + COLUMN_GUTTER;
        }
        y += row_height(row) + ROW_GUTTER;
    }
    Ok(page)
}

/// The picture at the size that it has on a sheet: who makes many panels of large pictures need not keep
/// those.
///
/// # Errors
/// [`ImageError::Empty`] and [`ImageError::TooLarge`] as for [`sheet`].
pub fn thumbnail(picture: &RgbImage) -> Result<RgbImage, ImageError> {
    let (width, height) = picture.dimensions();
    match size_on_sheet(picture)? {
        to if to == (width, height) => Ok(picture.clone()),
        to => resample_rgb(picture, &Placement::whole(width, height), to, Filter::Bicubic),
    }
}

fn size_on_sheet(picture: &RgbImage) -> Result<(u32, u32), ImageError> {
    let (width, height) = picture.dimensions();
    check_size(width.into(), height.into())?;
    let scale = f64::from(SIDE) / f64::from(width.max(height));
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, SIDE);
    Ok((scaled(width), scaled(height)))
}

/// Columns for `count` panels.
fn good_columns(count: usize) -> usize {
    let gaps = |columns: usize| (columns - count % columns) % columns;
    match count {
        0..=4 => count,
        _ if gaps(3) < gaps(4) => 3,
        _ => 4,
    }
}

/// Total length of boxes with gutters between and margins around them.
fn lined_up(lengths: Vec<u64>, gutter: u32) -> u64 {
    let gutters = u64::from(gutter) * (lengths.len() as u64).saturating_sub(1);
    2 * u64::from(MARGIN) + gutters + lengths.iter().sum::<u64>()
}

fn picture_height(row: &[Cell<'_>]) -> u32 {
    row.iter().map(|cell| cell.height).max().unwrap_or(0)
}

fn row_height(row: &[Cell<'_>]) -> u32 {
    picture_height(row) + row.iter().map(Cell::caption_height).max().unwrap_or(0)
}

/// A panel and the size of its picture on the sheet.
struct Cell<'a> {
    panel: &'a Panel,
    width: u32,
    height: u32,
}

impl<'a> Cell<'a> {
    fn new(panel: &'a Panel) -> Result<Cell<'a>, ImageError> {
        let (width, height) = size_on_sheet(&panel.picture)?;
        Ok(Cell { panel, width, height })
    }

    fn caption_height(&self) -> u32 {
        let lines: u32 = (0..self.panel.caption.len()).map(line_height).sum();
        let warning = if self.panel.warning.is_some() { GAP + WARNING_HEIGHT } else { 0 };
        GAP + lines + warning
    }

    /// Draws the cell into a box at `(x, y)`: the picture stands on the line at `picture_height`, the text
    /// below it.
    fn draw(
        &self,
        page: &mut RgbImage,
        x: u32,
        y: u32,
        width: u32,
        picture_height: u32,
    ) -> Result<(), ImageError> {
        let picture = thumbnail(&self.panel.picture)?;
        let down = picture_height.saturating_sub(self.height);
        imageops::replace(page, &picture, x.into(), (y + down).into());
        let mut y = y + picture_height + GAP;
        for (index, line) in self.panel.caption.iter().enumerate() {
            let style = if index == 0 { TITLE } else { NOTE };
            y += line_height(index);
            text::draw(page, &text::fit(line, style.size, width as f32), x as f32, y as f32 - 6.0, style);
        }
        if let Some(warning) = &self.panel.warning {
            draw_warning(page, warning, x, y + GAP, width);
        }
        Ok(())
    }
}

fn line_height(index: usize) -> u32 {
    if index == 0 { 22 } else { 19 }
}

fn draw_warning(page: &mut RgbImage, warning: &str, x: u32, y: u32, width: u32) {
    let paper = RgbImage::from_pixel(width, WARNING_HEIGHT, WARNING_PAPER);
    imageops::replace(page, &paper, x.into(), y.into());
    let line = text::fit(&format!("⚠ {warning}"), WARNING.size, width as f32 - 2.0 * WARNING_PADDING);
    text::draw(page, &line, x as f32 + WARNING_PADDING, (y + WARNING_HEIGHT) as f32 - 7.5, WARNING);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(width: u32, height: u32, lines: &[&str], warning: Option<&str>) -> Panel {
        Panel {
            picture: RgbImage::from_pixel(width, height, Rgb([9, 99, 199])),
            caption: lines.iter().map(|line| (*line).to_owned()).collect(),
            warning: warning.map(str::to_owned),
        }
    }

    #[test]
    fn columns_leave_few_gaps() {
        let chosen: Vec<usize> = (1..=12).map(good_columns).collect();
        assert_eq!(chosen, [1, 2, 3, 4, 3, 3, 4, 4, 3, 4, 4, 4]);
    }

    #[test]
    fn size_follows_from_the_panels() {
        let photo = panel(720, 480, &["one", "two"], None);
        let page = sheet(&[photo.clone(), photo.clone(), photo.clone()], Some(2)).unwrap();
        let row = 240 + 8 + 22 + 19;
        assert_eq!(page.dimensions(), (24 + 360 + 20 + 360 + 24, 24 + row + 28 + row + 24));
        assert_eq!(page.get_pixel(24, 24).0, [9, 99, 199]);
        assert_eq!((page.get_pixel(23, 24).0, page.get_pixel(384, 24).0), ([255; 3], [255; 3]));
        assert_eq!(page.get_pixel(404, 263).0, [9, 99, 199]);
        assert_eq!(sheet(&[photo], Some(99)).unwrap().width(), 24 + 360 + 24);
    }

    #[test]
    fn captions_and_warnings_stay_in_their_panel() {
        let long = "a caption far too long for the panel ".repeat(9);
        let page =
            sheet(&[panel(100, 80, &[&long, &long, &long], Some(&long)), panel(1, 1, &[], None)], None)
                .unwrap();
        let (text, gutter) = (24 + 288.., 24 + 360..24 + 380);
        let ink = |columns: std::ops::Range<u32>, rows: std::ops::RangeFrom<u32>| {
            let inside = page.enumerate_pixels().filter(|(x, y, _)| columns.contains(x) && rows.contains(y));
            inside.filter(|(_, _, pixel)| pixel.0 != [255; 3]).count()
        };
        assert!(ink(24..384, text.clone()) > 2000);
        assert_eq!(ink(gutter, text), 0);
        assert!(page.pixels().any(|pixel| *pixel == WARNING_PAPER));
    }

    #[test]
    fn odd_panels_are_fine_and_none_are_not() {
        assert_eq!(sheet(&[], None), Err(ImageError::NoPanels));
        assert!(matches!(sheet(&[panel(0, 0, &[], None)], None), Err(ImageError::Empty { .. })));
        let odd = [panel(1, 3000, &[""], Some("")), panel(3000, 1, &["\u{1f408}\n\0 猫"; 5], None)];
        assert_eq!(sheet(&odd, Some(0)).unwrap().width(), 24 + 360 + 24);
        assert!(matches!(
            sheet(&vec![panel(2, 2, &[], None); 1000], Some(1)),
            Err(ImageError::TooLarge { .. })
        ));
    }
}
