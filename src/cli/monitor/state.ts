// What the monitor knows and shows, and what changes it: keys, news, time and the window's size. Pure.
import { detailLines } from './details.ts';
import { roomOf } from './layout.ts';
import { STATUSES, type Batch } from '../batch/record.ts';

export const TABS = ['all', ...STATUSES] as const;
export type Tab = (typeof TABS)[number];

export interface State {
  readonly url: string;
  /** Of every key: then each batch tells whose it is. */
  readonly all: boolean;
  /** Newest first. */
  readonly batches: readonly Batch[];
  /** There are older ones that were not asked for. */
  readonly more: boolean;
  readonly tab: Tab;
  /** The chosen batch's id; undefined where the tab is empty. */
  readonly chosen: string | undefined;
  /** The first row of the table that is seen, and the first line of the details. */
  readonly top: number;
  readonly details_top: number;
  readonly details: boolean;
  readonly columns: number;
  readonly rows: number;
  readonly now_ms: number;
  readonly loaded_ms: number;
  /** Why the last refresh failed; empty when it did not. */
  readonly failure: string;
}

/** What a key does to what is seen. */
export type Move = 'up' | 'down' | 'left' | 'right' | 'page_up' | 'page_down' | 'first' | 'last' | 'details';

export type Action =
  | { readonly type: 'move'; readonly move: Move }
  | { readonly type: 'loaded'; readonly batches: readonly Batch[]; readonly more: boolean; readonly now_ms: number }
  | { readonly type: 'failed'; readonly why: string; readonly now_ms: number }
  | { readonly type: 'tick'; readonly now_ms: number }
  | { readonly type: 'resized'; readonly columns: number; readonly rows: number };

export function begin(seen: Pick<State, 'url' | 'all' | 'batches' | 'more' | 'now_ms' | 'columns' | 'rows'>): State {
  const from = { tab: 'all', chosen: undefined, top: 0, details_top: 0, details: false, failure: '' } as const;
  return settled({ ...seen, ...from, loaded_ms: seen.now_ms }, 0);
}

export function changed(state: State, action: Action): State {
  const at = placeOf(state);
  switch (action.type) {
    case 'move':
      return moved(state, action.move, at);
    case 'loaded': {
      const { batches, more, now_ms } = action;
      return settled({ ...state, batches, more, now_ms, loaded_ms: now_ms, failure: '' }, at);
    }
    case 'failed':
      return settled({ ...state, failure: action.why, now_ms: action.now_ms }, at);
    case 'tick':
      return { ...state, now_ms: action.now_ms };
    case 'resized':
      return settled({ ...state, columns: action.columns, rows: action.rows }, at);
  }
  return action satisfies never;
}

/** The batches of the tab. */
export function listed({ batches, tab }: Pick<State, 'batches' | 'tab'>): readonly Batch[] {
  return tab === 'all' ? batches : batches.filter(({ status }) => status === tab);
}

/** The chosen one's place in its tab; 0 where there is none. */
export function placeOf(state: State): number {
  return Math.max(
    0,
    listed(state).findIndex(({ id }) => id === state.chosen),
  );
}

function moved(state: State, move: Move, at: number): State {
  const page = Math.max(1, roomOf(state));
  const { details, details_top } = state;
  switch (move) {
    case 'up':
      return choose(state, at - 1);
    case 'down':
      return choose(state, at + 1);
    case 'left':
      return turned(state, -1);
    case 'right':
      return turned(state, 1);
    // The details have no rows to choose from: there the page keys show what does not fit.
    case 'page_up':
      return details ? scrolled(state, details_top - page) : choose(state, at - page);
    case 'page_down':
      return details ? scrolled(state, details_top + page) : choose(state, at + page);
    case 'first':
      return details ? scrolled(state, 0) : choose(state, 0);
    case 'last':
      return details ? scrolled(state, END) : choose(state, END);
    case 'details':
      return { ...state, details: !details && state.chosen !== undefined, details_top: 0 };
  }
  return move satisfies never;
}

const END = Number.MAX_SAFE_INTEGER;

function scrolled(state: State, wanted: number): State {
  const batch = listed(state)[placeOf(state)];
  const count = batch === undefined ? 0 : detailLines(batch, state.columns, state.now_ms / 1000).length;
  return { ...state, details_top: Math.max(0, Math.min(wanted, count - roomOf(state))) };
}

function choose(state: State, wanted: number): State {
  const all = listed(state);
  const at = Math.min(Math.max(0, wanted), all.length - 1);
  return settled({ ...state, chosen: all[at]?.id, details_top: 0 }, at);
}

function turned(state: State, by: number): State {
  const tab = TABS[(TABS.indexOf(state.tab) + by + TABS.length) % TABS.length] ?? 'all';
  return settled({ ...state, tab, top: 0, details_top: 0 }, 0);
}

/** With something chosen where there is something, and that within sight. `at`: which row to choose where the chosen one is gone. */
function settled(state: State, at: number): State {
  const all = listed(state);
  const found = all.findIndex(({ id }) => id === state.chosen);
  const place = found >= 0 ? found : Math.min(at, all.length - 1);
  const chosen = all[place]?.id;
  const room = Math.max(1, roomOf(state));
  const lowest = Math.max(0, Math.min(state.top, place, all.length - room));
  const top = Math.max(lowest, place - room + 1);
  return { ...state, chosen, top, details: state.details && chosen !== undefined };
}
