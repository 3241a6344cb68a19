//! `whycam explain`: photos in, maps out.

mod hold;
mod read;
mod stages;
mod write;

use std::fs;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use whycam::engine::{EngineOptions, engine};
use whycam::graph::{Engine, Tensor};
use whycam::image::Colormap;
use whycam::sanity::{self, Check, Sanity};
use whycam::{Explainer, Image, Layers, Model, ModelOptions, Origin, Progress, Question};

use self::read::{Job, Step};
use self::write::{Answered, Count, title};
use crate::args::Explain;
use crate::console::Console;
use crate::fail::Fail;
use crate::further;
use crate::inputs;
use crate::out::{self, Place, Show};
use crate::record::{self, EngineFacts, Facts, InputFacts, ModelFacts, hex};
use crate::targets;

/// Most pixels of the images in a run, unless `--batch` says otherwise: eight images of 384 × 384.
const MOST_PIXELS: usize = 8 * 384 * 384;

/// Most layers that are told one by one.
const MOST_LAYERS_TOLD: usize = 8;

/// Explains every input.
///
/// # Errors
/// When the question cannot be asked. An image that fails is reported, and makes the exit code 1.
pub fn run(args: &Explain) -> Result<ExitCode, Fail> {
    let mut console = Console::new(args.quiet, args.json);
    let options = EngineOptions { threads: args.threads, device: args.device };
    let threads = options.threads();
    // Pictures are drawn by as many threads as run the model; a pool that is there already does as well.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let layers = layers(&args.layer);
    let model = model(args)?;
    let engine = engine(&args.engine, options).map_err(|e| Fail::from(e).into_usage())?;
    let question = Question {
        methods: args.method.clone(),
        layers,
        fuse: args.fuse,
        targets: targets::read(args.target.iter().flat_map(|list| &list.0))?,
        align: args.align,
        batch: args.batch.map_or_else(|| batch(&model), NonZeroUsize::get),
    };
    let asked = question.clone();
    let further = further::read(&model, &args.input)?;
    let held;
    let (model, explainer) = match Explainer::new(&model, engine.as_ref(), &question) {
        Ok(explainer) => (&model, explainer),
        Err(error) => {
            held = hold::held(args, &model, engine.as_ref(), &further)?.ok_or(error)?;
            (&held, Explainer::new(&held, engine.as_ref(), &question)?)
        }
    };
    let facts = EngineFacts {
        name: engine.name(),
        version: engine.version(),
        library: engine.library().map(|path| path.display().to_string()),
        device: args.device.name(),
        threads,
    };
    out::ready(&args.out).map_err(Fail::into_usage)?;
    announce(&console, args, model, &facts, &explainer);

    let (inputs, missing) = inputs::find(&args.inputs, &args.out);
    for fail in &missing {
        console.error(fail);
    }
    console.start(inputs.len());
    // A sanity check takes long: its results are not kept back for the rest of a batch.
    let batch = if args.sanity { 1 } else { explainer.batch() };
    let options = digest(args, model, &facts, &further)?;
    let session = Session {
        args,
        console,
        model,
        engine: facts,
        options,
        explainer,
        further,
        batch,
        show: Show {
            colormap: args.colormap,
            opacity: args.opacity,
            align: args.align,
            pictures: !args.no_pictures,
            raw: args.raw,
        },
        noted: AtomicBool::new(false),
        interrupted: interruption(),
        stopping: Once::new(),
        left: AtomicBool::new(false),
        sanity: args.sanity.then_some((engine.as_ref(), &asked)),
    };
    let (start, mut count) = (Instant::now(), Count { failed: missing.len(), ..Count::default() });
    let write = |batch| session.write(batch, &mut count);
    stages::stages(session.batches(&inputs), |batch| session.answers(batch), write);
    session.console.end();
    if count.explained + count.finished + count.failed > 1 {
        session.console.note(&count.told(start.elapsed().as_secs_f64()));
    }
    if session.left.load(Ordering::Relaxed) {
        session.console.note("interrupted: the same command with --resume continues");
        return Ok(ExitCode::from(Fail::INTERRUPTED));
    }
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(Fail::INPUT) })
}

/// A flag that is raised by Ctrl-C or a request to end, at which images that are begun are finished; a second one ends the
/// program at once, with every file whole all the same.
fn interruption() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Where they cannot be had, the program ends at the first.
        let _ = register_conditional_shutdown(signal, Fail::INTERRUPTED.into(), Arc::clone(&flag));
        let _ = register(signal, Arc::clone(&flag));
    }
    flag
}

/// A digest of what maps and pictures depend on, beside the model, the image, its preparation, and what is asked.
fn digest(
    args: &Explain,
    model: &Model,
    engine: &EngineFacts<'_>,
    further: &[(String, Tensor)],
) -> Result<String, Fail> {
    let further: Vec<_> = further
        .iter()
        .map(|(name, tensor)| {
            (name, tensor.dtype().to_string(), tensor.shape(), hex(&Sha256::digest(tensor.data())))
        })
        .collect();
    let options = (
        (env!("CARGO_PKG_VERSION"), engine.name, &engine.version, engine.device),
        (args.align.name(), args.colormap.map(Colormap::name), args.opacity),
        (model.labels(), further),
        args.fuse.map(|fuse| (fuse.name(), &args.layer)),
    );
    let text = serde_json::to_vec(&options).map_err(|e| record::no_json(&e))?;
    Ok(hex(&Sha256::digest(text)))
}

fn layers(names: &[String]) -> Layers {
    match names {
        [one] if one == "auto" => Layers::Auto,
        [one] if one == "all" => Layers::All,
        names => Layers::Named(names.to_vec()),
    }
}

fn model(args: &Explain) -> Result<Model, Fail> {
    let labels = args.labels.as_ref().map(|path| match fs::read_to_string(path) {
        Ok(text) => Ok(whycam::labels(&text)),
        Err(e) => Err(Fail::read(path, &e).into_usage()),
    });
    let options = ModelOptions {
        size: args.choice.size,
        output: args.choice.output.clone(),
        prep: args.prep.clone(),
        labels: labels.transpose()?,
    };
    match &args.model {
        None => Ok(Model::embedded_with(options)?),
        Some(path) => {
            Fail::unless_readable(path)?;
            Model::open_with(path, options).map_err(|e| Fail::from(e).at(path.display()))
        }
    }
}

/// How many images are run at once where nobody says.
fn batch(model: &Model) -> usize {
    (MOST_PIXELS / (model.input().height * model.input().width).max(1)).clamp(1, 8)
}

fn path_of(args: &Explain) -> String {
    args.model.as_ref().map_or("embedded".to_owned(), |path| path.display().to_string())
}

/// Says what will answer, and what was chosen without being asked.
fn announce(
    console: &Console,
    args: &Explain,
    model: &Model,
    engine: &EngineFacts<'_>,
    explainer: &Explainer<'_>,
) {
    let threads =
        if engine.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", engine.threads) };
    console.note(&format!("model  {}, {} {}, {threads}", path_of(args), engine.name, engine.version));
    let automatic = if args.layer == ["auto"] { " (automatic)" } else { "" };
    match explainer.layers()[..] {
        [first, .., last] if explainer.layers().len() > MOST_LAYERS_TOLD => {
            let count = explainer.layers().len();
            console.note(&format!("layers {count}, from {first} to {last}"));
        }
        ref layers => layers.iter().for_each(|layer| console.note(&format!("layer  {layer}{automatic}"))),
    }
    if let Some(fuse) = args.fuse {
        console.note(&format!("fused  by their {fuse}"));
    }
    if let Some((prep, Origin::Guess)) = model.prep() {
        console.note(&format!(
            "prep   {prep}, a guess: the model does not say how photos are prepared (see --prep)"
        ));
    }
    let (labels, classes) = (model.labels().len(), model.score().map_or(0, |score| score.classes));
    if labels != 0 && classes != 0 && labels != classes {
        console
            .note(&format!("warning: there are {labels} labels for {classes} classes; names may be wrong"));
    }
}

/// Everything that is ready when the first image comes. Images pass through it in three [`stages`](stages::stages).
struct Session<'a> {
    args: &'a Explain,
    console: Console,
    model: &'a Model,
    engine: EngineFacts<'a>,
    /// The digest of the options.
    options: String,
    explainer: Explainer<'a>,
    further: Vec<(String, Tensor)>,
    /// How many images are run at once.
    batch: usize,
    show: Show,
    /// Whether the notes, which are the same for every image, were told.
    noted: AtomicBool,
    interrupted: Arc<AtomicBool>,
    /// Done when the user was told what an interruption does.
    stopping: Once,
    /// Whether it left images that are not explained.
    left: AtomicBool,
    /// The engine and the question again, for the sanity check.
    sanity: Option<(&'a dyn Engine, &'a Question)>,
}

impl Session<'_> {
    /// The second stage: explains a batch.
    fn answers(&self, batch: Vec<Result<Step<(Job, Image)>, Fail>>) -> Vec<Result<Step<Answered>, Fail>> {
        let (mut images, mut steps) = (Vec::new(), Vec::new());
        for step in batch {
            steps.push(step.map(|step| match step {
                Step::Finished(record) => Step::Finished(record),
                Step::New((job, image)) => {
                    images.push(image);
                    Step::New(job)
                }
            }));
        }
        let mut progress = |progress: Progress<'_>| {
            if self.interrupted.load(Ordering::Relaxed) {
                let what = "interrupted: what is begun is finished; Ctrl-C again ends at once";
                self.stopping.call_once(|| self.console.note(what));
            }
            self.console.progress(progress);
        };
        let answers = self.explainer.explain_batch(&images, &self.further, &mut progress);
        let mut answers = images.into_iter().zip(answers);
        let answered = |step: Result<Step<Job>, Fail>| {
            let job = match step? {
                Step::Finished(record) => return Ok(Step::Finished(record)),
                Step::New(job) => job,
            };
            let title = title(&job.input);
            let at = |fail: Fail| fail.at(&title);
            let (image, answer) =
                answers.next().ok_or_else(|| Fail::input("there is no answer", "please report this"))?;
            let answer = answer.map_err(|e| at(e.into()))?;
            let sanity = self.sanity(&image, &title).map_err(at)?;
            Ok(Step::New(Answered { job, image, answer, sanity }))
        };
        steps.into_iter().map(answered).collect()
    }

    /// The sanity check of every map, if it was asked for.
    fn sanity(&self, image: &Image, title: &str) -> Result<Option<Vec<Sanity>>, Fail> {
        let Some((engine, question)) = self.sanity else { return Ok(None) };
        let check = Check { question, steps: sanity::STEPS, seed: 0 };
        let bar = self.console.steps(title);
        let mut progress = |done: usize, of: usize| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        };
        let found = sanity::sanity(self.model, engine, check, image, &self.further, &mut progress);
        bar.finish_and_clear();
        Ok(Some(found?))
    }

    /// Where the files of an image go.
    fn place<'s>(&'s self, stem: &'s str) -> Place<'s> {
        Place { out: &self.args.out, stem }
    }

    /// What all maps of an image have in common.
    fn facts<'s>(&'s self, input: &'s InputFacts) -> Facts<'s> {
        let model = self.model;
        let prep = model.prep().filter(|_| input.row.is_none());
        Facts {
            whycam: env!("CARGO_PKG_VERSION"),
            model: ModelFacts {
                path: path_of(self.args),
                sha256: model.sha256(),
                size: [model.input().height, model.input().width],
                output: model
                    .output()
                    .or(model.score().map(|s| s.output))
                    .map(|id| model.graph().value(id).name.as_str()),
            },
            engine: &self.engine,
            prep: prep.map(|(prep, _)| prep.to_string()),
            input,
        }
    }
}
