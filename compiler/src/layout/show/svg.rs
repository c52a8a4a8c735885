//! A layout as a picture: one rectangle per element, coloured by who holds it (or by its bank).
//!
//! Colours follow the structure of fragments: the eight groups of four lanes have eight hues, the lanes of a group four
//! shades. Banks are coloured alike: eight hues for the 16-byte units of 128 bytes, four shades for the words of a
//! unit. Heavy lines separate warps.

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Text};

use super::cells::{Grid, Holder, holders, offsets};
use super::table::summary;
use super::{Shown, TooLarge};

const CELL_W: u32 = 46;
const CELL_H: u32 = 34;
const LEFT: u32 = 46;
const TOP: u32 = 84;
const LEGEND: u32 = 250;
const FONT: &str = "DejaVu Sans, Helvetica, Arial, sans-serif";

/// An SVG document. `title` is usually the expression itself.
pub fn svg(shown: &Shown, title: &str) -> Result<String, TooLarge> {
    match shown {
        Shown::Distributed(layout) => {
            let grid = holders(layout)?;
            let mut page = Page::new(&grid, 1, title, &summary(layout));
            page.draw(&grid, |holders: &Vec<Holder>| {
                let Some(first) = holders.first() else {
                    return Cell {
                        colour: "#ffffff".into(),
                        big: "-".into(),
                        small: String::new(),
                        group: 0,
                    };
                };
                let thread = first.thread.unwrap_or(0);
                let others: Vec<u32> = first.others.iter().map(|o| o.1).collect();
                let prefix: String =
                    first.others.iter().map(|(d, v)| format!("{}{v} ", super::cells::letter(*d))).collect();
                let copies = if holders.len() > 1 { format!(" ×{}", holders.len()) } else { String::new() };
                Cell {
                    colour: palette(thread % 32),
                    big: first.thread.map_or("·".into(), |t| format!("T{t}")),
                    small: format!(
                        "{prefix}{}{copies}",
                        first.register.map_or(String::new(), |r| format!("r{r}"))
                    ),
                    group: others.iter().fold(thread / 32, |acc, o| acc * 1009 + o),
                }
            });
            page.heavy_borders();
            let lanes =
                grid.pages.iter().flat_map(|p| &p.1).flatten().filter_map(|h| h.thread).max().unwrap_or(0);
            let title = if lanes >= 32 { "colour: lane (thread % 32)" } else { "colour: thread" };
            let note = ["T: thread, r: register of the thread", "heavy lines: another warp or instance"];
            let entries: Vec<_> = (0..=lanes.min(31)).map(|t| (palette(t), format!("T{t}"))).collect();
            page.swatches(title, &entries, &note[..if page.has_heavy { 2 } else { 1 }]);
            Ok(page.finish())
        }
        Shown::Memory(memory) => {
            let (grid, run) = offsets(memory)?;
            let shape: Vec<String> = memory.shape().iter().map(|s| s.1.to_string()).collect();
            let bytes = memory.elem_bytes() * run;
            let note = format!(
                "{} elements of {} bytes, {} bytes in all; a cell is {bytes} bytes",
                shape.join(" × "),
                memory.elem_bytes(),
                memory.bytes()
            );
            let words = (bytes / 4).clamp(1, 4);
            // A cell of four words has a hue of its own; a single word takes its shade of it.
            let colour = |bank: u32| palette(if words > 1 { bank / 4 * 4 + 1 } else { bank });
            let mut page = Page::new(&grid, run, title, &note);
            page.draw(&grid, |&offset| {
                let bank = offset / 4 % 32;
                Cell {
                    colour: colour(bank),
                    big: format!("{offset}"),
                    small: if bytes > 4 {
                        format!("banks {bank}–{}", bank + bytes / 4 - 1)
                    } else {
                        format!("bank {bank}")
                    },
                    group: 0,
                }
            });
            let entries: Vec<_> = (0..32)
                .step_by(words as usize)
                .map(|b| {
                    (colour(b), if words > 1 { format!("{b}–{}", b + words - 1) } else { b.to_string() })
                })
                .collect();
            page.swatches(
                "colour: banks of the cell",
                &entries,
                &["number: byte offset", "one colour down a column: conflicts"],
            );
            Ok(page.finish())
        }
    }
}

struct Cell {
    colour: String,
    big: String,
    small: String,
    /// Cells of different groups are separated by a heavy line.
    group: u32,
}

struct Page {
    document: Document,
    rows: u32,
    columns: u32,
    cell_w: u32,
    width: u32,
    height: u32,
    groups: Vec<(u32, Vec<u32>)>,
    has_heavy: bool,
}

impl Page {
    fn new<T>(grid: &Grid<T>, column_step: u32, title: &str, subtitle: &str) -> Page {
        let cell_w = if column_step > 1 { 78 } else { CELL_W };
        let body = (grid.rows * CELL_H + 40) * grid.pages.len() as u32;
        let width = (LEFT + grid.columns * cell_w + LEGEND).max(LEFT + 11 * title.chars().count() as u32);
        let height = (TOP + body).max(TOP + 330);
        let mut document = Document::new()
            .set("viewBox", (0, 0, width, height))
            .set("width", width)
            .set("height", height)
            .set("font-family", FONT)
            .add(Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff"));
        document = document
            .add(text(16, 30, 18, "start", "#111111", title).set("font-weight", "bold"))
            .add(text(16, 52, 13, "start", "#555555", subtitle));
        let mut page = Page {
            document,
            rows: grid.rows,
            columns: grid.columns,
            cell_w,
            width,
            height,
            groups: Vec::new(),
            has_heavy: false,
        };
        for (i, (leading, _)) in grid.pages.iter().enumerate() {
            page.axes(i as u32, leading, column_step);
        }
        page
    }

    fn top(&self, page: u32) -> u32 {
        TOP + page * (self.rows * CELL_H + 40)
    }

    fn add(&mut self, node: impl Into<Box<dyn svg::Node>>) {
        svg::Node::append(&mut self.document, node);
    }

    fn axes(&mut self, page: u32, leading: &[u32], column_step: u32) {
        let top = self.top(page);
        let mut labels = Group::new().set("fill", "#555555");
        for c in 0..self.columns {
            labels = labels.add(text(
                LEFT + c * self.cell_w + self.cell_w / 2,
                top - 6,
                11,
                "middle",
                "#555555",
                &(c * column_step).to_string(),
            ));
        }
        for r in 0..self.rows {
            labels = labels.add(text(
                LEFT - 8,
                top + r * CELL_H + CELL_H / 2 + 4,
                11,
                "end",
                "#555555",
                &r.to_string(),
            ));
        }
        if !leading.is_empty() {
            let at: Vec<String> = leading.iter().map(u32::to_string).collect();
            labels = labels.add(text(16, top - 6, 11, "start", "#111111", &format!("[{}]", at.join(","))));
        }
        self.add(labels);
    }

    fn draw<T>(&mut self, grid: &Grid<T>, look: impl Fn(&T) -> Cell) {
        for (i, (_, page)) in grid.pages.iter().enumerate() {
            let top = self.top(i as u32);
            let mut body = Group::new();
            let mut groups = Vec::new();
            for r in 0..self.rows {
                for c in 0..self.columns {
                    let cell = look(grid.cell(page, r, c));
                    let (x, y) = (LEFT + c * self.cell_w, top + r * CELL_H);
                    body = body.add(
                        Rectangle::new()
                            .set("x", x)
                            .set("y", y)
                            .set("width", self.cell_w)
                            .set("height", CELL_H)
                            .set("fill", cell.colour)
                            .set("stroke", "#ffffff")
                            .set("stroke-width", 1),
                    );
                    let middle = x + self.cell_w / 2;
                    let (big_y, small) =
                        if cell.small.is_empty() { (y + 22, "") } else { (y + 15, cell.small.as_str()) };
                    body = body.add(
                        text(middle, big_y, 13, "middle", "#111111", &cell.big).set("font-weight", "bold"),
                    );
                    if !small.is_empty() {
                        body = body.add(text(middle, y + 28, 10, "middle", "#333333", small));
                    }
                    groups.push(cell.group);
                }
            }
            self.add(body);
            self.groups.push((top, groups));
        }
    }

    /// Lines between neighbours of different groups, and a frame.
    fn heavy_borders(&mut self) {
        let mut lines = Group::new().set("stroke", "#222222").set("stroke-width", 2.5);
        for (top, groups) in &self.groups {
            let at = |r: u32, c: u32| groups[(r * self.columns + c) as usize];
            for r in 0..self.rows {
                for c in 0..self.columns {
                    let (x, y) = (LEFT + c * self.cell_w, top + r * CELL_H);
                    if c > 0 && at(r, c) != at(r, c - 1) {
                        lines = lines.add(line(x, y, x, y + CELL_H));
                        self.has_heavy = true;
                    }
                    if r > 0 && at(r, c) != at(r - 1, c) {
                        lines = lines.add(line(x, y, x + self.cell_w, y));
                        self.has_heavy = true;
                    }
                }
            }
        }
        self.add(lines);
    }

    /// The legend: colours with their labels, four in a row.
    fn swatches(&mut self, title: &str, entries: &[(String, String)], notes: &[&str]) {
        let x = LEFT + self.columns * self.cell_w + 28;
        let mut legend =
            Group::new().add(text(x, TOP + 4, 12, "start", "#111111", title).set("font-weight", "bold"));
        for (i, (colour, label)) in entries.iter().enumerate() {
            let (sx, sy) = (x + i as u32 % 4 * 50, TOP + 14 + i as u32 / 4 * 24);
            let swatch = Rectangle::new().set("x", sx).set("y", sy).set("width", 46).set("height", 20);
            legend = legend.add(swatch.set("rx", 3).set("fill", colour.as_str())).add(text(
                sx + 23,
                sy + 14,
                11,
                "middle",
                "#111111",
                label,
            ));
        }
        let below = TOP + 14 + (entries.len() as u32).div_ceil(4) * 24 + 20;
        for (i, note) in notes.iter().enumerate() {
            legend = legend.add(text(x, below + i as u32 * 18, 11, "start", "#555555", note));
        }
        self.add(legend);
    }

    fn finish(self) -> String {
        debug_assert!(self.width > 0 && self.height > 0);
        self.document.to_string()
    }
}

fn text(x: u32, y: u32, size: u32, anchor: &str, fill: &str, content: &str) -> Text {
    Text::new(content)
        .set("x", x)
        .set("y", y)
        .set("font-size", size)
        .set("text-anchor", anchor)
        .set("fill", fill)
}

fn line(x1: u32, y1: u32, x2: u32, y2: u32) -> Line {
    Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2)
}

/// Colour `i` of 32: hue by `i / 4`, shade by `i % 4`; light enough for black text.
fn palette(i: u32) -> String {
    // Hues are spread by hand: equal steps leave greens indistinguishable.
    const HUES: [f64; 8] = [4.0, 30.0, 52.0, 95.0, 165.0, 200.0, 245.0, 305.0];
    const LIGHT: [f64; 4] = [0.89, 0.81, 0.73, 0.65];
    let (h, l) = (HUES[(i / 4 % 8) as usize], LIGHT[(i % 4) as usize]);
    let s = 0.78;
    let chroma = (1.0 - (2.0 * l - 1.0f64).abs()) * s;
    let channel = |n: f64| {
        let k = (n + h / 30.0) % 12.0;
        let v = l - chroma / 2.0 * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (v * 255.0).round() as u8
    };
    format!("#{:02x}{:02x}{:02x}", channel(0.0), channel(8.0), channel(4.0))
}
