"""The runtime of `driftline-edge`: it scores with an exported model, by the standard library alone.

Nothing here imports the rest of Driftline, and all imports within are relative: the folder is copied, as the
package `driftline_edge`, into a file that runs on devices with nothing but Python.
"""
