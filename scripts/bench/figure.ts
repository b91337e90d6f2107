/**
 * What a benchmark is made of: measurements, each of which gives one or more figures next to the limit that was
 * measured in the same run.
 */
import type { BenchWorld } from "./bench_world.ts";
import { type Spread, spreadOf } from "./spread.ts";

/** What a figure is to reach; what is left out does not matter. */
export interface Target {
  readonly atLeast?: number;
  readonly atMost?: number;
  /** Of the figure's ratio to its limit. */
  readonly ratioAtLeast?: number;
  readonly ratioAtMost?: number;
}

export interface Figure {
  /** Within its measurement. */
  readonly name: string;
  readonly unit: string;
  readonly target?: Target;
}

/** One figure of one repetition. Undefined where the system does not tell it. */
export interface Reading {
  readonly value: number | undefined;
  readonly limit?: number;
}

export type Readings = Readonly<Record<string, Reading>>;

/** How much is measured. */
export interface Scale {
  /** Small enough for a look whether all works; such figures are not to be quoted. */
  readonly isQuick: boolean;
}

export interface Measurement {
  /** How `--only` names it. */
  readonly name: string;
  /** What is measured, and next to what. */
  readonly title: string;
  readonly limit?: string;
  readonly figures: readonly Figure[];
  /** One repetition in a world of its own: a reading per figure, by name. */
  measure(world: BenchWorld, scale: Scale): Promise<Readings>;
}

/** A figure over all repetitions. */
export interface Result extends Figure {
  readonly measurement: string;
  readonly value: Spread | undefined;
  readonly limit: Spread | undefined;
  /** Of each repetition's figure to its own limit. */
  readonly ratio: Spread | undefined;
  /** Whether the medians reach the target; undefined without one, or without a figure. */
  readonly isMet: boolean | undefined;
}

/** Puts the repetitions of a measurement together. */
export function resultsOf({ name, figures }: Measurement, repetitions: readonly Readings[]): Result[] {
  return figures.map((figure) => {
    const readings = repetitions.map((readings) => readings[figure.name]);
    const value = spreadOfKnown(readings.map((reading) => reading?.value));
    const limit = spreadOfKnown(readings.map((reading) => reading?.limit));
    const ratio = spreadOfKnown(
      readings.map((reading) =>
        reading?.value === undefined || reading.limit === undefined
          ? undefined
          : reading.value / reading.limit
      ),
    );
    return {
      ...figure,
      measurement: name,
      value,
      limit,
      ratio,
      isMet: isMet(figure.target, { value, ratio }),
    };
  });
}

function isMet(
  target: Target | undefined,
  { value, ratio }: Pick<Result, "value" | "ratio">,
): boolean | undefined {
  if (!target || !value) return undefined;
  const { atLeast = -Infinity, atMost = Infinity, ratioAtLeast = -Infinity, ratioAtMost = Infinity } = target;
  const share = ratio?.median;
  return value.median >= atLeast && value.median <= atMost &&
    (share === undefined || (share >= ratioAtLeast && share <= ratioAtMost));
}

function spreadOfKnown(figures: readonly (number | undefined)[]): Spread | undefined {
  const known = figures.filter((figure) => figure !== undefined);
  return known.length === 0 ? undefined : spreadOf(known);
}
