//! How the cost of each work grows with the number of resources: exponents, and a plot.

use std::{collections::BTreeMap, path::Path};

use comfy_table::{Cell, Table};
use plotters::prelude::*;

use super::report::{Row, Unit};

/// Sizes and microseconds of one work.
type Points = Vec<(f64, f64)>;

const SIZE: (u32, u32) = (1000, 620);

/// The works that were measured at three sizes or more, in microseconds.
pub(super) fn series(rows: &[Row]) -> BTreeMap<String, Points> {
    let mut series: BTreeMap<String, Points> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.willow > 0.0) {
        let micros = match row.unit {
            Unit::Micros => row.willow,
            Unit::PerSecond => 1e6 / row.willow,
            Unit::Bytes => continue,
        };
        // The late page is another one at every size.
        let name = row.work.split(", page ").next().unwrap_or_default();
        let name = if name == row.work { name.to_owned() } else { format!("{name}, a late page") };
        series.entry(name).or_default().push((row.size as f64, micros));
    }
    series.retain(|_, points| points.len() >= 3);
    for points in series.values_mut() {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    series
}

/// The slope of the line that fits best (least squares) where both axes are logarithms: time grows
/// as size to this power.
pub(super) fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Points = points.iter().map(|(size, micros)| (size.ln(), micros.ln())).collect();
    let count = logs.len() as f64;
    let (mean_x, mean_y) =
        (logs.iter().map(|(x, _)| x).sum::<f64>() / count, logs.iter().map(|(_, y)| y).sum::<f64>() / count);
    let covariance: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    covariance / variance
}

pub(super) fn table(rows: &[Row]) -> Table {
    let series = series(rows);
    let mut sizes: Vec<u64> = rows.iter().map(|row| row.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN);
    let header = sizes.iter().map(|size| super::report::grouped(*size));
    table.set_header(["work".to_owned()].into_iter().chain(header).chain(["exponent".to_owned()]));
    for (work, points) in &series {
        let times = sizes.iter().map(|size| {
            let point = points.iter().find(|(of, _)| *of == *size as f64);
            point.map(|(_, micros)| Unit::Micros.show(*micros)).unwrap_or_default()
        });
        let cells = [work.clone()].into_iter().chain(times).chain([format!("{:.2}", exponent(points))]);
        table.add_row(cells.map(Cell::new));
    }
    table
}

/// Writes an SVG with both axes logarithmic and each work named at its last point.
pub(super) fn draw(file: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let series = series(rows);
    let points = || series.values().flatten();
    let range = |of: fn(&(f64, f64)) -> f64| {
        points().map(of).fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((least, most), (fastest, slowest)) = (range(|point| point.0), range(|point| point.1));
    let canvas = SVGBackend::new(file, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    // Room on the right for the names.
    let mut chart = ChartBuilder::on(&canvas)
        .caption("Time of one call in process, by the number of resources or patterns", ("sans-serif", 18))
        .margin(12)
        .margin_right(370)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((least..most).log_scale(), (fastest * 0.7..slowest * 1.4).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("resources (patterns)")
        .x_labels(8)
        .x_label_formatter(&|size| super::report::grouped(size.round() as u64))
        .y_label_formatter(&|micros| Unit::Micros.show(*micros))
        .draw()?;
    for (number, points) in series.values().enumerate() {
        let color = color(number);
        chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    let ends: Vec<i32> =
        series.values().filter_map(|points| points.last()).map(|point| chart.backend_coord(point).1).collect();
    let places = spread(&ends, 17, (30, SIZE.1 as i32 - 60));
    for (number, ((name, points), y)) in series.iter().zip(places).enumerate() {
        let text = format!("{name} (n^{:.2})", exponent(points));
        let x = SIZE.0 as i32 - 356;
        let style = ("sans-serif", 12).into_font().color(&color(number));
        canvas.draw(&Text::new(text, (x, y - 6), style))?;
        if let Some(end) = ends.get(number) {
            canvas.draw(&PathElement::new([(x - 24, *end), (x - 4, y)], color(number).mix(0.5)))?;
        }
    }
    canvas.present()?;
    Ok(())
}

/// Dark enough for a name on white.
fn color(number: usize) -> RGBColor {
    const COLORS: &[(u8, u8, u8)] = &[
        (31, 119, 180),
        (200, 80, 0),
        (44, 130, 44),
        (190, 30, 40),
        (120, 80, 170),
        (120, 70, 60),
        (200, 60, 150),
        (90, 90, 90),
        (120, 120, 0),
        (0, 130, 150),
        (20, 40, 120),
        (150, 110, 40),
        (90, 0, 90),
        (0, 90, 60),
    ];
    let (red, green, blue) = COLORS[number % COLORS.len()];
    RGBColor(red, green, blue)
}

/// Places near the wanted ones that are a distance apart, in their order.
fn spread(wanted: &[i32], apart: i32, (top, bottom): (i32, i32)) -> Vec<i32> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&at| wanted[at]);
    let mut places = vec![0; wanted.len()];
    let mut next = top;
    for &at in &order {
        places[at] = wanted[at].max(next);
        next = places[at] + apart;
    }
    // What went over the lower edge moves up again, and pushes.
    let mut lowest = bottom;
    for &at in order.iter().rev() {
        places[at] = places[at].min(lowest);
        lowest = places[at] - apart;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_powers() {
        let points = |power: f64| [1e3, 1e4, 1e5].map(|size: f64| (size, 7.0 * size.powf(power)));
        for power in [0.0, 0.5, 1.0] {
            assert!((exponent(&points(power)) - power).abs() < 1e-9);
        }
    }

    #[test]
    fn names_do_not_cover_each_other() {
        assert_eq!(spread(&[50, 48, 200], 10, (0, 100)), [58, 48, 100]);
        assert_eq!(spread(&[99, 100, 98], 10, (0, 100)), [90, 100, 80]);
    }
}
