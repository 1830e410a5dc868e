"""What other assistants kept of their conversations, in the files that their makers hand out.

members.py and json_values.py read, a piece at a time; chatgpt.py, claude.py and mcp_memory.py know the formats;
conversation.py makes a document of turns; known.py tells which format a file is.
"""
