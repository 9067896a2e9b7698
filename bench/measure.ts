// The nouns of the bench. A measure opens its subjects (gateways, or ways of doing one thing), and `rounds.ts` asks each of
// them for one sample a round, in turn, so that whatever else the machine does falls on all of them alike. Absolute times
// mean little on a shared machine: what counts is the ratio of two subjects within one round.

/** One subject's figures in one round, by the figure's name; absent where it has none. */
export type Sample = Readonly<Record<string, number>>;

export interface Figure {
  readonly name: string;
  /** What the number is, for the table: `requests/s per core`. */
  readonly title: string;
  readonly unit: string;
  readonly digits?: number;
  /**
   * The subject whose figure of the same round is taken off before this one is told; its own is told whole. For times: the
   * load's and the mock's own are in all of them.
   */
  readonly added_to?: string;
  /** The target this figure is held against, in words, and whether a number meets it. Told, never enforced. */
  readonly target?: Target;
  /** What must never happen is not forgiven by the other rounds: which of them is held against the target, not the median. */
  readonly worst?: 'high' | 'low';
}

interface Target {
  /** As in `≥ 0.25 × nginx`. */
  readonly text: string;
  /** `own`: the subject's median, or its worst, as told. `ratio`: the median ratio to another subject, in the same rounds. */
  met(own: number, ratio: (to: string) => number | undefined): boolean;
}

export interface Subject {
  readonly name: string;
  /** What ran: `1.22.1`, a commit. */
  readonly version: string;
  round(): Promise<Sample>;
  close(): Promise<void>;
}

export interface Measure {
  /** One word, for `--only`. */
  readonly name: string;
  readonly title: string;
  readonly figures: readonly Figure[];
  /** The subject that ratios are told to. */
  readonly base: string;
  /** Where a round takes minutes and more of them tell little more. */
  readonly rounds_max?: number;
  open(bench: Bench): Promise<readonly Subject[]>;
}

/** What a measure is told of this run. */
export interface Bench {
  /** A smoke test: everything runs, briefly. */
  readonly quick: boolean;
  /** A line for whoever watches, and for the report: what was left out, and why. */
  readonly note: (text: string) => void;
}
