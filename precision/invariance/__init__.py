"""Does a mode give the same bits again: in a batch, on other threads, in another process?"""
