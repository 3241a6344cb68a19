//! Contact sheets: pictures side by side, each with its caption.

use ::image::imageops;
use ::image::{Rgb, RgbImage};

use super::load::check_size;
use super::text::{self, Type};
use super::{Filter, ImageError, Placement, resample_rgb};

/// One picture of a contact sheet and what is written below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// The picture, of any size; the sheet shows it with its longer side at 90 to 360 pixels, the fewer the columns the more.
    pub picture: RgbImage,
    /// Lines of plain text, usually one to three: the first, in black, says what the picture is. A line too
    /// long for the panel ends in an ellipsis.
    pub caption: Vec<String>,
    /// A line that must not be overlooked, such as "blank map"; shown on amber.
    pub warning: Option<String>,
}

/// Panels of a contact sheet that belong together: they begin a row of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// What they have in common, written above them; nothing when empty.
    pub title: String,
    /// The panels.
    pub panels: Vec<Panel>,
}

/// Longer side of a picture on the sheet: that of few columns, of some, of many, and what is left for very large sheets.
const SIDES: [u32; 5] = [360, 270, 200, 140, 90];
/// White around the sheet, between columns and between rows.
const MARGIN: u32 = 24;
const COLUMN_GUTTER: u32 = 20;
const ROW_GUTTER: u32 = 28;
/// From the picture to its caption.
const GAP: u32 = 8;
const HEADING_HEIGHT: u32 = 34;
const WARNING_HEIGHT: u32 = 24;
const WARNING_PADDING: f32 = 8.0;

const HEADING: Type = Type { size: 19.0, colour: [17, 24, 39] };
const TITLE: Type = Type { size: 15.0, colour: [17, 24, 39] };
const NOTE: Type = Type { size: 13.0, colour: [75, 85, 99] };
const WARNING: Type = Type { size: 13.0, colour: [146, 64, 14] };
const WARNING_PAPER: Rgb<u8> = Rgb([254, 243, 199]);
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);

/// Lays sections out below each other on white paper, their panels in rows. Without `columns`, up to four panels make one
/// row and more make rows of three or four, whichever leaves fewer gaps.
///
/// # Errors
/// [`ImageError::NoPanels`]; [`ImageError::Empty`] or [`ImageError::TooLarge`] for a panel's picture without
/// pixels or a sheet beyond the limits of [`super::Photo`].
pub fn sheet(sections: &[Section], columns: Option<usize>) -> Result<RgbImage, ImageError> {
    Sheet::fitting(sections, columns)?.draw()
}

/// A sheet and the sizes of its parts.
struct Sheet<'a> {
    sections: Vec<(&'a str, Vec<Cell<'a>>)>,
    columns: usize,
    cell_width: u32,
    width: u32,
    height: u32,
}

impl<'a> Sheet<'a> {
    /// The sheet with the largest pictures that its columns and the limits leave room for.
    fn fitting(sections: &'a [Section], columns: Option<usize>) -> Result<Sheet<'a>, ImageError> {
        let most = sections.iter().map(|section| section.panels.len()).max().unwrap_or(0);
        if most == 0 {
            return Err(ImageError::NoPanels);
        }
        let columns = columns.unwrap_or_else(|| good_columns(most)).clamp(1, most);
        let largest = match columns {
            0..=4 => 0,
            5..=6 => 1,
            _ => 2,
        };
        let mut sides = SIDES.into_iter().skip(largest);
        loop {
            let side = sides.next().unwrap_or_default();
            match Sheet::new(sections, columns, side) {
                Err(ImageError::TooLarge { .. }) if sides.len() > 0 => {}
                made => return made,
            }
        }
    }

    fn new(sections: &'a [Section], columns: usize, side: u32) -> Result<Sheet<'a>, ImageError> {
        let cells = |section: &'a Section| -> Result<(&'a str, Vec<Cell<'a>>), ImageError> {
            let cells = section.panels.iter().map(|panel| Cell::new(panel, side));
            Ok((section.title.as_str(), cells.collect::<Result<_, _>>()?))
        };
        let sections = sections.iter().map(cells).collect::<Result<Vec<_>, _>>()?;
        let widths = sections.iter().flat_map(|(_, cells)| cells).map(|cell| cell.width);
        // Captions of upright pictures have room.
        let cell_width = widths.max().unwrap_or(0).max(side * 3 / 4);
        let width = lined_up(vec![cell_width.into(); columns], COLUMN_GUTTER);
        let rows =
            sections.iter().flat_map(|(_, cells)| cells.chunks(columns)).map(|row| row_height(row).into());
        let headings = sections.iter().map(|(title, _)| u64::from(heading_height(title))).sum::<u64>();
        let height = lined_up(rows.collect(), ROW_GUTTER) + headings;
        check_size(width, height)?;
        Ok(Sheet { sections, columns, cell_width, width: width as u32, height: height as u32 })
    }

    fn draw(&self) -> Result<RgbImage, ImageError> {
        let mut page = RgbImage::from_pixel(self.width, self.height, PAPER);
        let mut y = MARGIN;
        for (title, cells) in &self.sections {
            let line = text::fit(title, HEADING.size, (self.width - 2 * MARGIN) as f32);
            text::draw(&mut page, &line, MARGIN as f32, y as f32 + 19.0, HEADING);
            y += heading_height(title);
            for row in cells.chunks(self.columns) {
                let picture_height = picture_height(row);
                let mut x = MARGIN;
                for cell in row {
                    cell.draw(&mut page, x, y, self.cell_width, picture_height)?;
                    x += self.cell_width + COLUMN_GUTTER;
                }
                y += row_height(row) + ROW_GUTTER;
            }
        }
        Ok(page)
    }
}

fn heading_height(title: &str) -> u32 {
    if title.is_empty() { 0 } else { HEADING_HEIGHT }
}

/// The picture at the largest size that it has on a sheet: who makes many panels of large pictures need not keep
/// those.
///
/// # Errors
/// [`ImageError::Empty`] and [`ImageError::TooLarge`] as for [`sheet`].
pub fn thumbnail(picture: &RgbImage) -> Result<RgbImage, ImageError> {
    sized(picture, SIDES[0])
}

/// The picture with its longer side at so many pixels.
fn sized(picture: &RgbImage, side: u32) -> Result<RgbImage, ImageError> {
    let (width, height) = picture.dimensions();
    match size_on_sheet(picture, side)? {
        to if to == (width, height) => Ok(picture.clone()),
        to => resample_rgb(picture, &Placement::whole(width, height), to, Filter::Bicubic),
    }
}

fn size_on_sheet(picture: &RgbImage, side: u32) -> Result<(u32, u32), ImageError> {
    let (width, height) = picture.dimensions();
    check_size(width.into(), height.into())?;
    let scale = f64::from(side) / f64::from(width.max(height));
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, side);
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
    side: u32,
    width: u32,
    height: u32,
}

impl<'a> Cell<'a> {
    fn new(panel: &'a Panel, side: u32) -> Result<Cell<'a>, ImageError> {
        let (width, height) = size_on_sheet(&panel.picture, side)?;
        Ok(Cell { panel, side, width, height })
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
        let picture = sized(&self.panel.picture, self.side)?;
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

    /// A sheet of one section without a title.
    fn sheet(panels: &[Panel], columns: Option<usize>) -> Result<RgbImage, ImageError> {
        super::sheet(&[Section { title: String::new(), panels: panels.to_vec() }], columns)
    }

    #[test]
    fn sections_begin_rows_and_many_columns_make_small_pictures() {
        let panels = vec![panel(100, 100, &["layer1.0"], None); 9];
        let section =
            |title: &str, count: usize| Section { title: title.into(), panels: panels[..count].to_vec() };
        let page = super::sheet(&[section("grad-cam", 9), section("gradient", 1)], Some(9)).unwrap();
        let row = 34 + 200 + 8 + 22;
        assert_eq!(page.dimensions(), (2 * 24 + 9 * 200 + 8 * 20, 24 + row + 28 + row + 24));
        let at = |x: u32, y: u32| page.get_pixel(x, y).0;
        assert_eq!(
            (at(24, 58), at(24, 57 + row + 28 + 1), at(244, 58 + row + 28)),
            ([9, 99, 199], [9, 99, 199], [255; 3])
        );
        assert!((24..200).any(|x| at(x, 40) != [255; 3]), "the title is above its panels");
        // What would be too large a sheet has smaller pictures.
        let many = vec![Section { title: String::new(), panels: vec![panels[0].clone(); 2000] }];
        let page = Sheet::fitting(&many, Some(10)).unwrap();
        assert!(page.width < 2000 && page.height > 20_000, "{} × {}", page.width, page.height);
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
