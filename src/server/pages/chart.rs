//! Small charts as SVG: lines over the last hour, or as much of it as there is. The figures stand beside them as text, so that they
//! stay readable at any width.

use std::fmt::{self, Write as _};

use askama::filters::HtmlSafe;

/// One or two lines over the same time.
pub(super) struct Chart {
    /// What it shows, for those who do not see it.
    pub(super) label: String,
    /// How far back each point is, in seconds, and its values. Gaps are `None`.
    pub(super) points: Vec<(f64, [Option<f64>; 2])>,
    /// How many seconds it shows.
    pub(super) width: f64,
    /// Whether it has the lines of an axis.
    pub(super) has_grid: bool,
}

impl Chart {
    /// The highest value of all.
    pub(super) fn highest(&self) -> f64 {
        let values = self.points.iter().flat_map(|(_, values)| values.iter().flatten());
        values.copied().fold(0.0, f64::max)
    }

    fn line(&self, which: usize, top: f64) -> (String, String) {
        let (mut line, mut area) = (String::new(), String::new());
        let mut open: Option<(f64, f64)> = None;
        let close = |area: &mut String, open: &mut Option<(f64, f64)>| {
            if let Some((first, last)) = open.take() {
                let _ = write!(area, "L{last:.1} {HEIGHT}L{first:.1} {HEIGHT}Z");
            }
        };
        for (back, values) in &self.points {
            let x = (1.0 - back / self.width).clamp(0.0, 1.0) * WIDTH;
            let Some(value) = values[which] else {
                close(&mut area, &mut open);
                continue;
            };
            let y = HEIGHT - (value / top).clamp(0.0, 1.0) * (HEIGHT - 4.0);
            let command = if open.is_some() { 'L' } else { 'M' };
            let _ = write!(line, "{command}{x:.1} {y:.1}");
            let _ = write!(area, "{command}{x:.1} {y:.1}");
            open = Some((open.map_or(x, |(first, _)| first), x));
        }
        close(&mut area, &mut open);
        (line, area)
    }
}

impl HtmlSafe for Chart {}

impl fmt::Display for Chart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        write!(
            out,
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" \
             role=\"img\" aria-label=\"{label}\">"
        )?;
        if self.has_grid {
            for part in [0.0, 0.5, 1.0] {
                let y = HEIGHT - part * (HEIGHT - 4.0);
                write!(out, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>")?;
            }
        }
        let top = self.highest();
        if top > 0.0 {
            for (which, two) in [(0, ""), (1, " two")] {
                let (line, area) = self.line(which, top);
                write!(out, "<path class=\"area{two}\" d=\"{area}\"/>")?;
                write!(out, "<path class=\"line{two}\" d=\"{line}\"/>")?;
            }
        }
        out.write_str("</svg>")
    }
}

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_there_is_nothing_and_its_label_is_text() {
        let points = vec![
            (3600.0, [Some(0.0), None]),
            (1800.0, [Some(2.0), None]),
            (900.0, [None, None]),
            (0.0, [Some(1.0), None]),
        ];
        let chart = Chart { label: "a \"<b>".into(), points, width: 3600.0, has_grid: false };
        let svg = chart.to_string();
        assert!(svg.contains("d=\"M0.0 100.0L300.0 4.0M600.0 52.0\""), "{svg}");
        assert!(svg.contains("aria-label=\"a &quot;&lt;b>\""), "{svg}");
    }
}
