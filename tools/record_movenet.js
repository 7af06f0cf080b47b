// Runs the published MoveNet on a made-up image with TensorFlow.js and writes the samples that tests hold our own network to.
//   npm install @tensorflow/tfjs; node record_movenet.js package/models/movenet-lightning.json 192 movenet_lightning.json
// The image is that of tests/model/networks/encoders/test_movenet.py, by the same arithmetic.
const fs = require('fs');
const path = require('path');
const tf = require('@tensorflow/tfjs');

const EVERY = 211; // samples taken of each map's flat values, rows first, channels last
const GRAPH = 'StatefulPartitionedCall/';
const EXTRACTOR = GRAPH + 'center_net_mobile_net_v2fpn_feature_extractor/model_1/';
const NODES = {
  stage1: EXTRACTOR + 'model/block_2_add/add',
  stage2: EXTRACTOR + 'model/block_5_add/add',
  stage3: EXTRACTOR + 'model/block_9_add/add',
  stage4: EXTRACTOR + 'model/block_12_add/add',
  stage5: EXTRACTOR + 'model/block_16_project_BN/FusedBatchNormV3',
  sixteenth: EXTRACTOR + 're_lu/Relu',
  eighth: EXTRACTOR + 're_lu_1/Relu',
  quarter: EXTRACTOR + 're_lu_2/Relu',
  heatmap: GRAPH + 'kpt_heatmap_0/conv2d_5/BiasAdd',
  centre: GRAPH + 'center_0/conv2d_4/BiasAdd',
  regression: GRAPH + 'kpt_regress_0/conv2d_6/BiasAdd',
  offset: GRAPH + 'kpt_offset_0/conv2d_7/BiasAdd',
  keypoints: 'Identity',
};

function image(side) {
  const half = side / 2;
  const pixels = new Int32Array(side * side * 3);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const from_middle = (x - half) ** 2 + (y - half) ** 2;
      pixels.set([(7 * x + 3 * y) % 256, (Math.floor(x * x / 16) + 5 * y) % 256, Math.floor(from_middle / 40) % 256], 3 * (y * side + x));
    }
  }
  return tf.tensor4d(pixels, [1, side, side, 3], 'int32');
}

async function main(file, side, out) {
  await tf.setBackend('cpu');
  const { modelTopology, weightsManifest, format, signature } = JSON.parse(fs.readFileSync(file));
  const [{ paths, weights }] = weightsManifest;
  const binary = fs.readFileSync(path.join(path.dirname(file), paths[0]));
  const weightData = binary.buffer.slice(binary.byteOffset, binary.byteOffset + binary.length);
  const model = await tf.loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs: weights, weightData, format, signature }));
  const results = model.execute({ 'input:0': image(side) }, Object.values(NODES));
  const said = { tfjs: tf.version.tfjs, side, every: EVERY, maps: {} };
  Object.keys(NODES).forEach((name, k) => {
    const every = name === 'keypoints' ? 1 : EVERY;
    const values = Array.from(results[k].dataSync()).filter((_, i) => i % every === 0);
    said.maps[name] = { shape: results[k].shape, values: values.map((v) => Number(v.toPrecision(7))) };
  });
  fs.writeFileSync(out, JSON.stringify(said) + '\n');
}

main(process.argv[2], Number(process.argv[3]), process.argv[4]);
