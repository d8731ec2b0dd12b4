//! Operations per second over time, with the faults.

use std::path::Path;

use plotters::prelude::*;

use crate::{faults::Kind, report::Report};

const SIZE: (u32, u32) = (1280, 420);

/// Faults by what they do to a cluster, with the colour that marks them.
const MARKS: [(&str, &[Kind], RGBColor); 4] = [
    ("leader killed", &[Kind::KillLeader, Kind::KillAll], RGBColor(200, 30, 30)),
    ("other node killed or replaced", &[Kind::KillFollower, Kind::Replace], RGBColor(240, 150, 40)),
    ("paused", &[Kind::PauseLeader, Kind::PauseFollower], RGBColor(130, 80, 180)),
    (
        "network",
        &[Kind::IsolateLeader, Kind::IsolateFollower, Kind::Bridge, Kind::Mute, Kind::Deaf, Kind::Slow],
        RGBColor(60, 140, 90),
    ),
];

/// Writes an SVG.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(file: &Path, report: &Report) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let rates: Vec<(f64, f64)> = report.rates().collect();
    let end = rates.last().map_or(1.0, |(at, _)| at + 0.5);
    let top = rates.iter().map(|(_, rate)| *rate).fold(1.0, f64::max) * 1.15;
    let canvas = SVGBackend::new(file, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&canvas)
        .caption("Operations per second while nodes are killed, paused and cut off", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(WHITE).x_desc("seconds").y_desc("operations per second");
    mesh.x_label_formatter(&|at| format!("{at:.0}")).y_label_formatter(&|rate| format!("{rate:.0}")).draw()?;
    for (name, kinds, colour) in MARKS {
        let faults = report.faults.iter().filter(|fault| kinds.contains(&fault.kind));
        let bars = faults.map(|fault| {
            // At least as wide as can be seen.
            let (from, until) = (fault.at_us as f64 / 1e6, fault.until_us as f64 / 1e6);
            Rectangle::new([(from, 0.0), (until.max(from + end / 1000.0), top)], colour.mix(0.25).filled())
        });
        let key = move |(x, y)| Rectangle::new([(x, y - 5), (x + 16, y + 5)], colour.mix(0.4).filled());
        chart.draw_series(bars)?.label(name).legend(key);
    }
    chart.draw_series(LineSeries::new(rates, RGBColor(31, 80, 150).stroke_width(1)))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    canvas.present()?;
    Ok(())
}
