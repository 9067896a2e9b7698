// Ids in OpenAI's spelling: 128 bits of chance, so that none can be guessed.
import { randomBytes } from 'node:crypto';

const random = (): string => randomBytes(16).toString('hex');

export const fileId = (): string => `file-${random()}`;
export const batchId = (): string => `batch_${random()}`;
export const lineId = (): string => `batch_req_${random()}`;
export const windowId = (): string => `win_${random()}`;
export const shardId = (): string => `shard_${random()}`;
