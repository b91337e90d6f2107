/** The contract of ChangeStreams on a real nats-server. */
import {
  changeStreamsContract,
  type ContractWorld,
  type ContractWorldOptions,
} from "../support/change_streams_contract.ts";
import { ServerWorld } from "./server_world.ts";

async function makeWorld({ shards, maxMessages }: ContractWorldOptions): Promise<ContractWorld> {
  const world = await ServerWorld.start();
  const stream = (shard: number) => `marmot-changes-${shard}`;
  return {
    open: () => world.open({ shards, maxLogEntries: maxMessages }),
    interrupt: () => world.server.restart(),
    trim: (shard, belowSequence) =>
      world.administer(async (manager) => {
        await manager.streams.purge(stream(shard), { seq: belowSequence });
      }),
    remake: (shard) =>
      world.administer(async (manager) => {
        const { config } = await manager.streams.info(stream(shard));
        await manager.streams.delete(stream(shard));
        await manager.streams.add(config);
      }),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

changeStreamsContract("JetStream", makeWorld);
