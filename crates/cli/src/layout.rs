//! What stands where on a sheet, and what is written below it.

use whycam::image::{Panel, RgbImage, Section};
use whycam::{Map, Part};

use crate::out::percent;

/// Most panels in a row.
const MOST_IN_A_ROW: usize = 10;

/// The sections of a sheet, and in how many columns.
///
/// Where methods read several layers, every method of every class is a section with a column for each layer; where there are
/// several classes, every method is one with a column for each class. All else is laid out as it fits.
pub fn arranged(photo: Option<&Panel>, maps: Vec<(&Map, RgbImage)>) -> (Vec<Section>, Option<usize>) {
    let sweep = maps.iter().any(|(a, _)| maps.iter().any(|(b, _)| is_same_but_layer(a, b)));
    let classes = maps.iter().any(|(map, _)| map.target != maps[0].0.target);
    if !sweep && !classes {
        let panels =
            photo.cloned().into_iter().chain(maps.into_iter().map(|(map, picture)| panel(map, picture)));
        return (vec![Section { title: String::new(), panels: panels.collect() }], None);
    }
    let mut sections: Vec<([&str; 2], Section)> = Vec::new();
    for (map, picture) in maps {
        let key = [map.method.as_str(), if sweep { map.target.as_str() } else { "" }];
        let at = sections.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
            let title = if sweep {
                format!("{}: {}, score {:.2}", map.method, named(map), map.score)
            } else {
                String::new()
            };
            sections.push((key, Section { title, panels: photo.cloned().into_iter().collect() }));
            sections.len() - 1
        });
        let panel = if sweep { panel_of_layer(map, picture) } else { panel(map, picture) };
        sections[at].1.panels.push(panel);
    }
    let sections: Vec<Section> = sections.into_iter().map(|(_, section)| section).collect();
    let most = sections.iter().map(|section| section.panels.len()).max().unwrap_or(1);
    let lines = most.div_ceil(MOST_IN_A_ROW);
    (sections, Some(most.div_ceil(lines)))
}

fn is_same_but_layer(a: &Map, b: &Map) -> bool {
    a.layer != b.layer && (&a.method, &a.target) == (&b.method, &b.target)
}

/// A map on the sheet.
fn panel(map: &Map, picture: RgbImage) -> Panel {
    let caption = [
        named(map),
        format!("{}, score {:.2}", map.method, map.score),
        format!("{} {}", shape(map), place(map)),
    ];
    Panel { picture, caption: caption.into_iter().chain(legend(map)).collect(), warning: warning(map) }
}

/// A map where the layers are what differs.
fn panel_of_layer(map: &Map, picture: RgbImage) -> Panel {
    let sees = map.receptive_field.map(|sees| sees.to_string());
    let caption = [place(map), shape(map)].into_iter().chain(sees);
    let noted = || map.notes.iter().find(|note| note.advice().is_some()).map(|note| note.code());
    let code = map.verdict.advice().map(|_| map.verdict.code()).or_else(noted);
    let warning = code.map(|code| code.replace('-', " "));
    Panel { picture, caption: caption.chain(legend(map)).collect(), warning }
}

/// What the colours of a signed map mean. Every map has its own scale, so how far it reaches is told.
fn legend(map: &Map) -> Option<String> {
    let reach = map.min.abs().max(map.max.abs());
    let plain = reach == 0.0 || (0.1..1e5).contains(&reach);
    let number = |v: f32| if plain { format!("{v:.2}") } else { format!("{v:.1e}") };
    map.legend.map(|legend| format!("{} to {}, {legend}", number(map.min), number(map.max)))
}

/// The layer as people call it: by its module, where the model tells; several by the first and the last.
fn place(map: &Map) -> String {
    fn name<'a>(module: Option<&'a String>, layer: &'a str) -> &'a str {
        module.map_or(layer, String::as_str)
    }
    let part = |part: &Part| name(part.module.as_ref(), &part.layer).to_owned();
    match map.fused.as_ref().map(|fused| (fused.how, &fused.layers[..])) {
        Some((how, [first, .., last])) => {
            let count = map.fused.as_ref().map_or(0, |fused| fused.layers.len());
            format!("{how} of {count}, {} to {}", part(first), part(last))
        }
        _ => name(map.module.as_ref(), &map.layer).to_owned(),
    }
}

fn shape(map: &Map) -> String {
    map.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// What is odd about the map, without what to make of it, for which there is no room.
fn warning(map: &Map) -> Option<String> {
    let noted = || map.notes.iter().find_map(|note| note.advice());
    let advice = map.verdict.advice().map(str::to_owned).or_else(noted)?;
    advice.split([':', ';']).next().map(str::to_owned)
}

/// What a map explains, with its probability where it has one.
fn named(map: &Map) -> String {
    map.probability.map_or_else(|| map.label.clone(), |p| format!("{} {}", map.label, percent(p)))
}
