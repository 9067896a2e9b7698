// What options are made of: maps with known keys, lists, names. Their messages say what is allowed.
import { z } from 'zod';

/** A map with exactly these keys. The message for an unknown one lists them; faults.ts makes a sentence of it. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const keys = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: ({ code }) => (code === 'unrecognized_keys' ? `Allowed here: ${keys}` : `must be a map of ${keys}`),
  });
}

export function list<Item extends z.ZodType>(item: Item, of: string) {
  return z.array(item, { error: `must be a list of ${of}` });
}

/** A map by name. An empty one says neither "look for them" nor "these": it is a fault. */
export function named<Value extends z.ZodType>(name: z.ZodString, value: Value, of: string) {
  return z
    .record(name, value, { error: `must be a map of ${of} by name` })
    .refine((map) => Object.keys(map).length > 0, { error: `is empty: remove the line, or name one of the ${of}` });
}

export const text = z.string({ error: 'must be a text; put it in quotes' });

const model_error =
  'must be a model name: letters, digits or . _ : / @ + -, at most 200, beginning with a letter or digit';
export const model_name = z
  .string({ error: model_error })
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$/, { error: model_error });

const glob_error = 'must be a model name in which * stands for any characters, such as "deepseek-*"';
export const glob = z.string({ error: glob_error }).regex(/^[A-Za-z0-9._:/@+*-]{1,200}$/, { error: glob_error });

export const path = text.regex(/^\S(.*\S)?$/, { error: 'must be the path of a file' });
