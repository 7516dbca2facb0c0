// What somebody dropped or pasted: a picture, or why it is none.

const TAKEN = "drop a JPEG, PNG, WebP, GIF, BMP or TIFF file";

/** {picture} as a file, or {problem} as a sentence. A file of no type may be a picture: the server looks into it. */
export function handed(transfer) {
  const files = [...transfer.files];
  const picture = files.find((file) => file.type.startsWith("image/")) ?? files.find((file) => !file.type);
  if (picture && picture.type) return { picture };
  // Only while it is being dropped can a folder be told from a file.
  const folder = [...transfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folder) return { problem: `A folder cannot be searched with: ${TAKEN}.` };
  if (picture) return { picture };
  if (!files.length) return { problem: `That was no file: ${TAKEN}.` };
  return { problem: `${files[0].name} is no picture: ${TAKEN}.` };
}
